from django.apps import AppConfig
from django.conf import settings


class TickerProjectConfig(AppConfig):
    name = "tickerproject"

    def ready(self) -> None:
        if settings.PRODUCTION:
            # Models can be imported only once every app is loaded.
            from tickerproject.production import refuse_unsafe_settings

            refuse_unsafe_settings(settings)

from django.apps import AppConfig
from django.conf import settings


class TickerProjectConfig(AppConfig):
    name = "tickerproject"

    def ready(self) -> None:
        from tickerproject.api import openapi  # noqa: F401  (importing it registers it)

        if settings.PRODUCTION:
            # Models can be imported only once every app is loaded.
            from tickerproject.production import refuse_unsafe_settings

            refuse_unsafe_settings(settings)

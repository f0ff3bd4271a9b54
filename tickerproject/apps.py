from django.apps import AppConfig
from django.conf import settings

from tickerproject.production import refuse_unsafe_settings


class TickerProjectConfig(AppConfig):
    name = "tickerproject"

    def ready(self) -> None:
        if settings.PRODUCTION:
            refuse_unsafe_settings(settings)

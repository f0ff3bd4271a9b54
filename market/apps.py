from django.apps import AppConfig
from django.db.models.signals import post_delete, post_save


class MarketConfig(AppConfig):
    name = "market"
    verbose_name = "Market"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from market import calendar, checks  # noqa: F401  (checks registers itself)
        from market.models import TradingSession

        for signal in (post_save, post_delete):
            signal.connect(calendar.forget, sender=TradingSession, dispatch_uid="market.calendar.forget")

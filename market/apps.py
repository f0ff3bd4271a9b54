from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_delete, post_save


class MarketConfig(AppConfig):
    name = "market"
    verbose_name = "Market"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts.control import announce
        from market import calendar, checks  # noqa: F401  (checks registers itself)
        from market.models import TradingSession, UnderlyingPricing
        from market.underlying_pricing import PRICING_CHANGED

        def announce_pricing(**_kwargs: Any) -> None:
            announce({"type": PRICING_CHANGED})

        for signal in (post_save, post_delete):
            signal.connect(calendar.forget, sender=TradingSession, dispatch_uid="market.calendar.forget")
            signal.connect(announce_pricing, sender=UnderlyingPricing, weak=False, dispatch_uid="market.pricing")

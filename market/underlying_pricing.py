"""On what terms options on an underlying are priced: as the settings say, unless a row of `UnderlyingPricing` differs.

The stream, the REST answers and everything computed later from history ask here; a request may override for itself.
"""

from collections.abc import Mapping

from django.conf import settings
from django.db.models import Count, Max

from market.models import UnderlyingPricing
from market.pricing_terms import OptionPrice, PricingTerms, UnderlyingSource

PRICING_CHANGED = "pricing_changed"
"""The control message after a row was saved or deleted."""


def default_terms() -> PricingTerms:
    """What holds for every underlying that has no row of its own."""
    return PricingTerms(
        rate=settings.GREEKS_RATE,
        dividend_yield=settings.GREEKS_DIVIDEND_YIELD,
        underlying_source=UnderlyingSource(settings.GREEKS_UNDERLYING_SOURCE),
        option_price=OptionPrice(settings.GREEKS_OPTION_PRICE),
    )


def terms_by_underlying() -> Mapping[str, PricingTerms]:
    """The terms of the underlyings that have a row, in one query."""
    return {row.underlying: _terms_of(row) for row in UnderlyingPricing.objects.all()}


def terms_of(underlying: str) -> PricingTerms:
    """The terms of one underlying."""
    row = UnderlyingPricing.objects.filter(underlying=underlying).first()
    return _terms_of(row) if row else default_terms()


def fingerprint() -> tuple[object, ...]:
    """Changes when a row is added, changed or deleted."""
    return tuple(UnderlyingPricing.objects.aggregate(Max("updated_at"), Count("pk")).values())


def _terms_of(row: UnderlyingPricing) -> PricingTerms:
    default = default_terms()
    return PricingTerms(
        rate=default.rate if row.rate is None else float(row.rate),
        dividend_yield=default.dividend_yield if row.dividend_yield is None else float(row.dividend_yield),
        underlying_source=UnderlyingSource(row.underlying_source or default.underlying_source),
        option_price=OptionPrice(row.option_price or default.option_price),
    )

"""Whose rate, yield and underlying an option is priced with."""

import json
from decimal import Decimal

import pytest
import redis
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from pytest_django import Settings
from pytest_django.fixtures import DjangoCaptureOnCommitCallbacks

from market.models import UnderlyingPricing
from market.pricing_terms import OptionPrice, PricingTerms, UnderlyingSource
from market.underlying_pricing import fingerprint, terms_by_underlying, terms_of

pytestmark = pytest.mark.django_db


def test_without_a_row_the_settings_hold(settings: Settings) -> None:
    settings.GREEKS_RATE, settings.GREEKS_DIVIDEND_YIELD = 0.07, 0.01
    settings.GREEKS_UNDERLYING_SOURCE, settings.GREEKS_OPTION_PRICE = "future", "last-price"
    assert terms_of("NIFTY") == PricingTerms(0.07, 0.01, UnderlyingSource.FUTURE, OptionPrice.LAST_PRICE)


def test_a_row_says_what_differs_for_its_underlying_and_no_more(settings: Settings) -> None:
    settings.GREEKS_RATE = 0.07
    UnderlyingPricing.objects.create(
        underlying="INFY", dividend_yield=Decimal("0.02500"), underlying_source=UnderlyingSource.SPOT
    )
    assert terms_of("INFY") == PricingTerms(0.07, 0.025, UnderlyingSource.SPOT, OptionPrice.MIDDLE)
    assert dict(terms_by_underlying()) == {"INFY": terms_of("INFY")}
    assert terms_of("NIFTY").dividend_yield == 0.0


def test_a_rate_of_zero_is_a_rate(settings: Settings) -> None:
    settings.GREEKS_RATE = 0.07
    UnderlyingPricing.objects.create(underlying="NIFTY", rate=0)
    assert terms_of("NIFTY").rate == 0.0


def test_any_change_shows_in_the_fingerprint() -> None:
    seen = {fingerprint()}
    row = UnderlyingPricing.objects.create(underlying="NIFTY")
    seen.add(fingerprint())
    row.rate = Decimal("0.065")
    row.save()
    seen.add(fingerprint())
    row.delete()
    assert len(seen) == 3
    assert fingerprint() in seen  # as it was before the row


def test_percent_instead_of_a_fraction_is_refused() -> None:
    with pytest.raises(IntegrityError, match="market_underlying_pricing_rates"), transaction.atomic():
        UnderlyingPricing.objects.create(underlying="NIFTY", rate=Decimal("6.5"))


def test_the_admin_takes_the_name_people_use_and_tells_the_stream(
    admin_client: Client,
    valkey: "redis.Redis",
    settings: Settings,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with valkey.pubsub() as heard:  # type: ignore[no-untyped-call]
        heard.subscribe(f"{settings.REDIS_PREFIX}:control")
        assert heard.get_message(timeout=5) is not None  # the subscription's own confirmation
        with django_capture_on_commit_callbacks(execute=True):
            answer = admin_client.post(
                reverse("admin:market_underlyingpricing_add"), {"underlying": "nifty 50", "rate": "0.065"}
            )
        assert answer.status_code == 302
        message = heard.get_message(timeout=5)
    assert message is not None
    assert json.loads(message["data"]) == {"type": "pricing_changed"}
    assert UnderlyingPricing.objects.get().underlying == "NIFTY"

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from accounts.models import BrokerCredential, TradingAccount
from market.models import Instrument
from streaming.models import Subscription

pytestmark = pytest.mark.django_db


def test_it_fills_an_empty_database_and_may_be_repeated() -> None:
    for _ in range(2):
        call_command("seed_test_data", "--instruments", "1000", verbosity=0)
    assert Instrument.objects.active().count() == 1000
    assert TradingAccount.objects.count() == 2
    assert Subscription.objects.active().count() == 100
    assert not BrokerCredential.objects.exists()


def test_it_leaves_real_instruments_alone() -> None:
    call_command("seed_test_data", "--instruments", "10", verbosity=0)
    Instrument.objects.filter(pk=Instrument.objects.first().pk).update(name="NIFTY")  # type: ignore[union-attr]
    with pytest.raises(CommandError, match="real instruments"):
        call_command("seed_test_data", "--instruments", "10")


@pytest.mark.parametrize("arguments", [["--instruments", "0"], ["--instruments", "200000"], ["--accounts", "0"]])
def test_senseless_numbers_do_nothing(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("seed_test_data", *arguments)
    assert not TradingAccount.objects.exists()


def test_it_refuses_in_production(settings: Settings) -> None:
    settings.PRODUCTION = True
    with pytest.raises(CommandError, match="no place here"):
        call_command("seed_test_data")

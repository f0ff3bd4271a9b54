"""Instruments kept at hand: bounded in number and age, never older than an import of the same process."""

from collections.abc import Mapping
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import TradingAccount
from market import instrument_cache
from market.instrument_cache import LOOKUPS, InstrumentCache
from market.instruments import import_instruments
from market.models import Instrument
from market.tests.dumps import dump, index, option, stock


class Table:
    """Knows three shares, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[set[str]] = []
        self.now = 0.0
        self.cache = InstrumentCache(self.read, size=2, seconds=300, clock=lambda: self.now)

    def read(self, symbols: set[str]) -> Mapping[str, Instrument]:
        self.asked.append(set(symbols))
        known = {f"NSE:{name}": Instrument(exchange="NSE", tradingsymbol=name) for name in "ABC"}
        return {symbol: known[symbol] for symbol in symbols if symbol in known}


def counted(result: str) -> float:
    return LOOKUPS.labels(result)._value.get()  # type: ignore[no-any-return]


def test_what_was_read_is_at_hand_until_it_is_too_old() -> None:
    table = Table()
    hits, misses = counted("hit"), counted("miss")
    assert table.cache.by_symbols(["NSE:A", "NSE:B", "NSE:A"]).keys() == {"NSE:A", "NSE:B"}
    table.now = 299.9
    table.cache.by_symbols(["NSE:A"])
    assert table.asked == [{"NSE:A", "NSE:B"}]
    assert (counted("hit") - hits, counted("miss") - misses) == (1, 2)
    table.now = 300.0
    table.cache.by_symbols(["NSE:A"])
    assert table.asked[1:] == [{"NSE:A"}]


def test_the_one_that_was_not_asked_for_the_longest_makes_room() -> None:
    table = Table()
    for symbol in ("NSE:A", "NSE:B", "NSE:A", "NSE:C"):
        table.cache.by_symbols([symbol])
    assert len(table.cache) == 2
    table.asked.clear()
    table.cache.by_symbols(["NSE:A", "NSE:C"])
    assert table.asked == []
    table.cache.by_symbols(["NSE:B"])
    assert table.asked == [{"NSE:B"}]


def test_what_does_not_exist_takes_no_room() -> None:
    table = Table()
    assert table.cache.by_symbols(["NSE:X", "NSE:Y", "NSE:A"]).keys() == {"NSE:A"}
    assert len(table.cache) == 1


def test_what_was_read_while_the_table_changed_is_not_kept() -> None:
    table = Table()
    read = table.read

    def read_late(symbols: set[str]) -> Mapping[str, Instrument]:
        found = read(symbols)
        table.cache.forget()
        return found

    table.cache._read = read_late
    assert table.cache.by_symbols(["NSE:A"])
    assert len(table.cache) == 0


@pytest.mark.django_db(transaction=True)
def test_an_import_is_seen_at_once(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    def load(*rows: Any) -> None:
        import_instruments([dump([index(), stock(), *rows])])

    load(option(token=7))
    symbol = "NFO:NIFTY26120124500CE"
    assert instrument_cache.instruments_by_symbols([symbol])[symbol].lot_size == 75
    with django_assert_num_queries(0):
        instrument_cache.instruments_by_symbols([symbol])
    changed = option(token=8)
    changed.lot_size = 65
    load(changed)
    found = instrument_cache.instruments_by_symbols([symbol])[symbol]
    assert (found.lot_size, found.instrument_token) == (65, 8)


@pytest.mark.django_db
def test_an_instrument_that_is_asked_for_again_needs_no_query(client: Client, account: TradingAccount) -> None:
    import_instruments([dump([index(), stock()])])
    client.force_login(account.owner)
    assert client.get("/api/v1/instruments/NSE:INFY").status_code == 200
    Instrument.objects.filter(tradingsymbol="INFY").update(lot_size=99)  # past the service: seen when it is old
    assert client.get("/api/v1/instruments/NSE:INFY").json()["lot_size"] == 1

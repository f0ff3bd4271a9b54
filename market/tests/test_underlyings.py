"""Names of underlyings, and what they are the names of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.underlyings import INDEX_SPOTS, canonical_name, spot_symbol


@pytest.mark.parametrize(
    ("name", "exchange", "spot"),
    [
        ("NIFTY", "NFO", "NSE:NIFTY 50"),
        ("BANKNIFTY", "NFO", "NSE:NIFTY BANK"),
        ("FINNIFTY", "NFO", "NSE:NIFTY FIN SERVICE"),
        ("SENSEX", "BFO", "BSE:SENSEX"),
        ("M&M", "NFO", "NSE:M&M"),
        ("RELIANCE", "BFO", "BSE:RELIANCE"),
        ("GOLD", "MCX", "None"),
        ("USDINR", "CDS", "None"),
    ],
)
def test_contracts_lead_to_the_price_they_are_written_on(name: str, exchange: str, spot: str) -> None:
    assert str(spot_symbol(name, exchange)) == spot


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("NIFTY 50", "NIFTY"),
        (" nifty50 ", "NIFTY"),
        ("NSE:NIFTY BANK", "BANKNIFTY"),
        ("nifty_bank", "BANKNIFTY"),
        ("Nifty Fin Service", "FINNIFTY"),
        ("sensex", "SENSEX"),
        ("bajaj-auto", "BAJAJ-AUTO"),
        ("360ONE", "360ONE"),
    ],
)
def test_what_people_write_becomes_the_name_that_contracts_use(text: str, name: str) -> None:
    assert canonical_name(text) == name


@pytest.mark.parametrize("name", INDEX_SPOTS)
def test_an_index_is_found_by_its_own_symbol(name: str) -> None:
    assert canonical_name(str(INDEX_SPOTS[name])) == name


@given(st.text(max_size=40))
def test_a_canonical_name_stays_as_it_is(text: str) -> None:
    assert canonical_name(canonical_name(text)) == canonical_name(text)

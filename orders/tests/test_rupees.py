from decimal import Decimal

import pytest

from orders.rupees import rupees


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("0", "₹0"),
        ("999", "₹999"),
        ("3750.50", "₹3,750.50"),
        ("10000000", "₹1,00,00,000"),
        ("-123456.7", "−₹1,23,456.70"),
    ],
)
def test_rupees_are_grouped_as_in_india_with_paise_where_there_are_any(value: str, words: str) -> None:
    assert rupees(Decimal(value)) == words

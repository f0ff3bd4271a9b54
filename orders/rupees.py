"""Rupees in words for people, in Indian grouping."""

from decimal import Decimal


def rupees(value: Decimal) -> str:
    """With paise where there are any: `₹1,00,00,000`, `−₹3,750.50`."""
    whole, _, paise = f"{abs(value):.2f}".partition(".")
    return f"{'−' if value < 0 else ''}₹{in_lakhs(whole)}" + (f".{paise}" if paise != "00" else "")


def in_lakhs(digits: str) -> str:
    """The digits of a whole number in Indian grouping: `18,42,310`."""
    head, tail = digits[:-3], digits[-3:]
    pairs = [head[max(0, end - 2) : end] for end in range(len(head), 0, -2)][::-1]
    return ",".join([*pairs, tail])

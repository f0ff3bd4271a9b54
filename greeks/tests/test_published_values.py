"""Worked examples that others have printed. The tolerance is half of their last printed digit."""

import pytest

from greeks import black76, black_scholes


def test_hull_prices_a_call_and_a_put_on_a_share() -> None:
    """Hull, Options, Futures, and Other Derivatives, Example 15.6: 4.76 and 0.81."""
    price = black_scholes.price(42.0, 40.0, 0.5, 0.10, 0.20, [True, False])
    assert price == pytest.approx([4.76, 0.81], abs=0.005)


def test_hull_greeks_of_an_at_the_money_call() -> None:
    """Hull, Examples 19.1 to 19.6: S 49, K 50, 5 %, 20 %, 20 weeks (0.3846 years)."""
    greeks = black_scholes.greeks(49.0, 50.0, 0.3846, 0.05, 0.20, True)
    assert greeks.price == pytest.approx(2.40, abs=0.005)
    assert greeks.delta == pytest.approx(0.522, abs=0.0005)
    assert greeks.gamma == pytest.approx(0.066, abs=0.0005)
    assert greeks.theta_per_day * 365 == pytest.approx(-4.31, abs=0.005)
    assert greeks.vega_per_point * 100 == pytest.approx(12.1, abs=0.05)
    assert greeks.rho_per_point * 100 == pytest.approx(8.91, abs=0.005)


def test_hull_prices_a_put_on_a_future() -> None:
    """Hull, Example 18.6: F 20, K 20, 9 %, 25 %, four months: 1.12."""
    assert black76.price(20.0, 20.0, 4 / 12, 0.09, 0.25, False) == pytest.approx(1.12, abs=0.005)


def test_haug_prices_a_call_on_a_share() -> None:
    """Haug, The Complete Guide to Option Pricing Formulas, 1.1.1: S 60, K 65, three months, 8 %, 30 %: 2.1334."""
    assert black_scholes.price(60.0, 65.0, 0.25, 0.08, 0.30, True) == pytest.approx(2.1334, abs=0.00005)


def test_haug_prices_a_put_on_an_index_with_a_dividend_yield() -> None:
    """Haug, 1.1.2: S 100, K 95, half a year, 10 %, yield 5 %, 20 %: 2.4648."""
    price = black_scholes.price(100.0, 95.0, 0.5, 0.10, 0.20, False, dividend_yield=0.05)
    assert price == pytest.approx(2.4648, abs=0.00005)


def test_haug_prices_options_on_a_future() -> None:
    """Haug, 1.1.3: F 19, K 19, nine months, 10 %, 28 %: 1.7011, alike for call and put."""
    price = black76.price(19.0, 19.0, 0.75, 0.10, 0.28, [True, False])
    assert price == pytest.approx([1.7011, 1.7011], abs=0.00005)

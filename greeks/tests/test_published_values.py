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


def test_haug_greeks() -> None:
    """Haug, 2nd ed., chapter 2: the worked examples of delta, gamma, vega, theta and rho; carry b = rate - yield."""
    on_future = black76.greeks(105.0, 100.0, 0.5, 0.10, 0.36, [True, False])
    assert on_future.delta == pytest.approx([0.5946, -0.3566], abs=0.00005)
    assert black_scholes.greeks(55.0, 60.0, 0.75, 0.10, 0.30, True).gamma == pytest.approx(0.0278, abs=0.00005)
    vega = black_scholes.greeks(55.0, 60.0, 0.75, 0.105, 0.30, True, 0.105 - 0.0695).vega_per_point
    assert vega * 100 == pytest.approx(18.5027, abs=0.00005)
    theta = black_scholes.greeks(430.0, 405.0, 1 / 12, 0.07, 0.20, False, 0.05).theta_per_day
    assert theta * 365 == pytest.approx(-31.1924, abs=0.0001)
    assert theta == pytest.approx(-0.0855, abs=0.00005)
    rho = black_scholes.greeks(72.0, 75.0, 1.0, 0.09, 0.19, True).rho_per_point
    assert rho * 100 == pytest.approx(38.7325, abs=0.00005)


def test_haug_second_order_greeks() -> None:
    """Haug, 2nd ed., chapter 2: DdeltaDvol (vanna), charm, DvegaDvol (vomma) and speed, per year and per 1.00."""
    vanna = black_scholes.second_order(90.0, 80.0, 0.25, 0.05, 0.20, False).vanna_per_point
    assert vanna * 100 == pytest.approx(-1.0008, abs=0.00005)
    charm = black76.second_order(105.0, 90.0, 0.25, 0.14, 0.24, False).charm_per_day
    assert charm * 365 == pytest.approx(0.3700, abs=0.00005)
    vomma = black76.second_order(90.0, 130.0, 0.75, 0.05, 0.28, False).vomma_per_point
    assert vomma * 100**2 == pytest.approx(92.3444, abs=0.00005)
    speed = black_scholes.second_order(50.0, 48.0, 0.0833, 0.06, 0.20, True, 0.05).speed
    assert speed == pytest.approx(-0.0291, abs=0.00005)

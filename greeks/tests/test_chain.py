import math
from dataclasses import astuple, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks import black76
from greeks.chain import (
    Chain,
    ChainAnalytics,
    analyse,
    atm_implied_volatility,
    atm_strike,
    exposure,
    fitted_smile,
    one_sigma_move,
    straddle,
    strike_implied_volatility,
    synthetic_forward,
)
from greeks.gamma_exposure import gamma_exposure
from greeks.open_interest import max_pain, put_call_ratio

YEARS, RATE, SPOT = 7 / 365, 0.065, 24_000.0
FORWARD = SPOT * math.exp(RATE * YEARS)
STRIKES = np.arange(22_000.0, 26_000.0, 50.0)


def chain(**changes: Any) -> Chain:
    """A chain of 80 strikes in good order, with what the test wants otherwise."""
    x = np.log(STRIKES / FORWARD) / (0.13 * math.sqrt(YEARS))
    volatility = 0.13 * (1 - 0.09 * x + 0.02 * x * x)
    call, put = (black76.price(FORWARD, STRIKES, YEARS, RATE, volatility, is_call) for is_call in (True, False))
    thick = 75.0 * np.round(2_000 * np.exp(-0.5 * (x - 1) ** 2)), 75.0 * np.round(2_500 * np.exp(-0.5 * (x + 1) ** 2))
    columns: dict[str, Any] = {
        "strike": STRIKES, "call_price": call, "put_price": put,
        "call_implied_volatility": volatility, "put_implied_volatility": volatility,
        "call_oi": thick[0], "put_oi": thick[1], "call_oi_change": thick[0] - thick[1],
        "put_oi_change": thick[1] - thick[0], "call_volume": 3 * thick[0], "put_volume": 2 * thick[1],
        "spot": SPOT, "forward": FORWARD, "time_to_expiry": YEARS, "rate": RATE,
    }  # fmt: skip
    return Chain(**(columns | changes))


def small(**columns: Any) -> Chain:
    terms: dict[str, Any] = {"strike": [90.0, 100.0, 110.0], "time_to_expiry": 0.25, "rate": 0.0}
    return Chain(**(terms | columns))


@pytest.mark.parametrize(("forward", "strike"), [(104.0, 100.0), (106.0, 110.0), (105.0, 100.0), (1.0, 90.0)])
def test_at_the_money_is_the_strike_nearest_to_the_forward_and_of_two_the_lower(forward: float, strike: float) -> None:
    assert atm_strike(small(forward=forward, spot=90.0)) == strike


def test_the_volatility_at_the_money_lies_on_a_line_between_two_strikes() -> None:
    """The means are 0.20 at 100 and 0.24 at 110; a forward of 102.5 is a quarter of the way: 0.21."""
    sides = {"call_implied_volatility": [0.9, 0.19, 0.24], "put_implied_volatility": [0.9, 0.21, math.nan]}
    assert atm_implied_volatility(small(forward=102.5, **sides)) == pytest.approx(0.21, rel=1e-14)
    assert atm_implied_volatility(small(forward=100.0, **sides)) == pytest.approx(0.20, rel=1e-14)
    assert atm_implied_volatility(small(forward=110.0, **sides)) == pytest.approx(0.24, rel=1e-14)


@pytest.mark.parametrize("forward", [95.0, 89.0, 111.0, math.nan])
def test_there_is_none_beside_a_gap_nor_outside_the_strikes(forward: float) -> None:
    found = small(forward=forward, call_implied_volatility=[0.2, math.nan, 0.2])
    assert math.isnan(atm_implied_volatility(found))
    assert math.isnan(one_sigma_move(found))


def test_a_forward_that_is_off_hardly_moves_the_volatility_at_the_money() -> None:
    good = chain()
    terms = STRIKES, YEARS, RATE
    off = {
        f"{side}_implied_volatility": black76.implied_volatility(
            getattr(good, f"{side}_price"), FORWARD + 10, *terms, side == "call"
        ).volatility
        for side in ("call", "put")
    }
    found = chain(forward=FORWARD + 10, **off)
    near = int(np.argmin(np.abs(STRIKES - FORWARD)))
    assert abs(off["call_implied_volatility"][near] - off["put_implied_volatility"][near]) > 0.005
    assert atm_implied_volatility(found) == pytest.approx(atm_implied_volatility(good), abs=0.0003)


def test_a_strike_has_the_volatility_of_its_option_out_of_the_money_or_else_of_the_other() -> None:
    found = small(
        forward=100.0,
        call_implied_volatility=[0.11, 0.12, math.nan],
        put_implied_volatility=[0.21, 0.22, 0.23],
    )
    assert strike_implied_volatility(found).tolist() == [0.21, 0.12, 0.23]


def test_the_straddle_and_what_it_implies_by_hand() -> None:
    """7.5 + 5.5 = 13 at 100; over a forward of 102: 12.745 %. One sigma: 0.2·√0.25 = 0.1."""
    found = small(
        forward=102.0,
        call_price=[14, 7.5, 3],
        put_price=[2, 5.5, 11],
        call_implied_volatility=0.2,
        put_implied_volatility=0.2,
    )
    assert straddle(found)[:2] == (100.0, 13.0)
    assert straddle(found).implied_move == pytest.approx(0.12745, abs=5e-6)
    assert one_sigma_move(found) == pytest.approx(0.1, rel=1e-14)


def test_a_straddle_at_the_forward_costs_four_fifths_of_a_deviation() -> None:
    """2·(2Φ(v/2) - 1) is √(2/π)·v to second order."""
    call, put = black76.price(100.0, [100.0], 0.25, 0.0, 0.2, [[True], [False]])
    found = Chain(strike=[100.0], call_price=call, put_price=put, forward=100.0, time_to_expiry=0.25, rate=0.0)
    assert straddle(found).implied_move == pytest.approx(math.sqrt(2 / math.pi) * 0.1, rel=5e-4)


def test_the_synthetic_forward_is_what_parity_names_whatever_the_chain_was_given() -> None:
    assert synthetic_forward(chain(forward=23_000.0)).forward == pytest.approx(FORWARD, rel=1e-12)


def test_a_forward_that_is_not_known_is_carried_from_the_spot_and_the_other_way_round() -> None:
    assert chain(forward=math.nan).forward == pytest.approx(FORWARD, rel=1e-14)
    assert chain(forward=math.nan, dividend_yield=RATE).forward == SPOT
    assert chain(spot=math.nan).spot == pytest.approx(SPOT, rel=1e-14)
    assert math.isnan(chain(spot=math.nan, forward=math.nan).forward)


def test_everything_in_one_call_is_what_each_function_says() -> None:
    one = chain()
    found = analyse(one)
    assert found.forward == FORWARD
    assert found.synthetic_forward == synthetic_forward(one)
    assert found.atm_strike == atm_strike(one)
    assert found.atm_implied_volatility == atm_implied_volatility(one)
    assert found.straddle == straddle(one)
    assert found.one_sigma_move == one_sigma_move(one)
    assert found.put_call_ratio_oi == put_call_ratio(one.call_oi, one.put_oi)
    assert found.put_call_ratio_volume == put_call_ratio(one.call_volume, one.put_volume)
    assert found.max_pain == max_pain(one.strike, one.call_oi, one.put_oi)
    assert found.smile == fitted_smile(one)
    assert (found.risk_reversal, found.butterfly) == fitted_smile(one).wings()[2:]
    assert found.gamma_exposure.net == exposure(one).net


def test_an_orderly_chain_hangs_together() -> None:
    found = analyse(chain())
    assert found.atm_implied_volatility == pytest.approx(0.13, abs=1e-4)
    assert found.smile.at_the_money == pytest.approx(0.13, abs=1e-3)
    assert found.straddle.implied_move == pytest.approx(0.8 * found.one_sigma_move, rel=0.05)
    assert found.support.strike.max() < found.forward < found.resistance.strike.min()
    assert found.support.strike[0] < found.gamma_exposure.flip < found.resistance.strike[0]
    assert (found.call_additions.strike > SPOT).all()
    assert (found.put_additions.strike < FORWARD).all()
    assert found.risk_reversal < 0 < found.butterfly


def test_gamma_exposure_is_taken_at_each_strikes_own_volatility() -> None:
    one = chain(contract_size=2.0)
    expected = gamma_exposure(
        STRIKES, one.put_implied_volatility, one.call_oi, one.put_oi,
        spot=SPOT, forward=FORWARD, time_to_expiry=YEARS, rate=RATE, contract_size=2.0,
    )  # fmt: skip
    assert exposure(one).net == expected.net


def numbers(found: ChainAnalytics) -> list[float]:
    """The single numbers among the results."""
    names = [f.name for f in fields(found) if isinstance(getattr(found, f.name), float)]
    return [getattr(found, name) for name in names]


@pytest.mark.parametrize("strikes", [[], [24_000.0], [23_000.0, 24_000.0, 25_000.0]])
def test_a_chain_without_a_quote_has_analytics_without_an_answer(strikes: list[float]) -> None:
    found = analyse(Chain(strike=strikes, time_to_expiry=YEARS, rate=RATE))
    assert np.isnan(numbers(found)).all()
    assert np.isnan(found.straddle).all()
    assert math.isnan(found.gamma_exposure.net)
    assert not found.smile
    assert found.support.strike.size == 0


@pytest.mark.parametrize(
    "name",
    [
        "call_price", "put_price", "call_implied_volatility", "put_implied_volatility", "call_oi", "put_oi",
        "call_volume", "put_volume", "spot", "forward", "time_to_expiry", "rate",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [math.nan, 0.0, -1.0, math.inf])
def test_a_whole_column_that_is_wrong_neither_raises_nor_warns(name: str, value: float) -> None:
    assert isinstance(analyse(chain(**{name: value})), ChainAnalytics)


any_number = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(*[any_number] * 8), max_size=9), st.tuples(*[any_number] * 6))
def test_anything_gives_analytics_and_never_a_warning(rows: list[tuple[float, ...]], market: tuple[float, ...]) -> None:
    names = ("call_price", "put_price", "call_implied_volatility", "put_implied_volatility",
             "call_oi", "put_oi", "call_oi_change", "call_volume")  # fmt: skip
    terms = ("spot", "forward", "time_to_expiry", "rate", "dividend_yield", "contract_size")
    given: dict[str, Any] = dict(zip(names, np.array(rows).reshape(-1, 8).T, strict=True))
    given |= dict(zip(terms, market, strict=True))
    found = analyse(Chain(strike=100.0 + np.arange(len(rows)), **given))
    assert len(astuple(found)) == len(fields(ChainAnalytics))


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="strikes must ascend: 100 is followed by 100"):
        small(strike=[90.0, 100.0, 100.0])
    with pytest.raises(ValueError, match=r"call_oi has shape \(2,\), the strikes have \(3,\)"):
        small(call_oi=[1.0, 2.0])
    with pytest.raises(ValueError, match="one expiry at a time"):
        small(strike=[[90.0]])
    for strike in (0.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="strike is not a number above zero"):
            small(strike=[strike])
    with pytest.raises(ValueError, match="count is -1"):
        analyse(chain(), walls_each=-1)

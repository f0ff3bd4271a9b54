import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from greeks import black_scholes
from greeks.arrays import Floats
from greeks.gamma_exposure import GammaExposure, gamma_exposure

STRIKES = np.arange(90.0, 111.0, 2.5)
YEARS, RATE = 0.1, 0.06
FORWARD_RATIO = math.exp(0.05 * YEARS)
oi = st.lists(st.floats(0.0, 1e6), min_size=9, max_size=9).map(np.array)


def exposure_at(spot: float, calls: Floats, puts: Floats) -> GammaExposure:
    return gamma_exposure(
        STRIKES, 0.2 - 0.002 * (STRIKES - 100), calls, puts,
        spot=spot, forward=spot * FORWARD_RATIO, time_to_expiry=YEARS, rate=RATE,
    )  # fmt: skip


def test_one_strike_by_hand() -> None:
    """v = 0.2·√0.25 = 0.1, d1 = 0.05, φ = 0.39844, gamma = φ/(100·0.1) = 0.039844; times 100²·0.01: 3.9844 a unit."""
    found = gamma_exposure([100.0], [0.2], [1000.0], [400.0], spot=100.0, forward=100.0, time_to_expiry=0.25, rate=0.0)
    assert found.call == pytest.approx([3984.4], abs=0.05)
    assert found.put == pytest.approx([-1593.8], abs=0.05)
    assert found.net == pytest.approx(2390.7, abs=0.05)
    assert math.isnan(found.flip)  # one strike has one sign wherever the spot is


def test_it_is_the_models_gamma_times_open_interest() -> None:
    volatility = 0.2 - 0.002 * (STRIKES - 100)
    gamma = black_scholes.greeks(101.0, STRIKES, YEARS, RATE, volatility, True, RATE - 0.05).gamma
    found = exposure_at(101.0, np.full(9, 500.0), np.full(9, 300.0))
    assert found.call == pytest.approx(500 * gamma * 101**2 * 0.01, rel=1e-12)
    assert found.put == pytest.approx(-300 * gamma * 101**2 * 0.01, rel=1e-12)
    assert found.net == pytest.approx(200 * gamma.sum() * 101**2 * 0.01, rel=1e-12)


def test_contracts_count_as_often_as_they_are_large() -> None:
    terms = ([100.0], [0.2], [40.0], [10.0])
    market = {"spot": 100.0, "forward": 100.0, "time_to_expiry": 0.25, "rate": 0.0}
    one, lot = gamma_exposure(*terms, **market), gamma_exposure(*terms, **market, contract_size=75)
    assert lot.net == pytest.approx(75 * one.net, rel=1e-14)
    assert lot.profile == pytest.approx(75 * one.profile, rel=1e-14)


@given(oi, oi)
def test_the_net_changes_sign_at_the_flip(calls: Floats, puts: Floats) -> None:
    flip = exposure_at(100.0, calls, puts).flip
    assume(not math.isnan(flip))
    around = np.array([exposure_at(flip * factor, calls, puts).net for factor in (0.9999, 1.0, 1.0001)])
    gross = exposure_at(flip, calls, 0 * puts).net - exposure_at(flip, 0 * calls, puts).net
    assume(np.abs(around).max() > 1e-9 * gross)  # a profile that hardly leaves zero says nothing
    assert np.sign(around[0]) != np.sign(around[2])
    assert abs(around[1]) < 0.01 * np.abs(around).max()


def test_with_puts_below_and_calls_above_the_flip_lies_between() -> None:
    puts, calls = np.zeros(9), np.zeros(9)
    puts[1], calls[7] = 1000.0, 1000.0
    found = exposure_at(100.0, calls, puts)
    assert STRIKES[1] < found.flip < STRIKES[7]
    assert found.profile[0] < 0 < found.profile[-1]


def test_of_several_flips_the_nearest_to_the_spot_is_named() -> None:
    puts, calls = np.zeros(9), np.zeros(9)
    calls[[0, 8]], puts[4] = 1000.0, 3000.0
    low, high = (exposure_at(spot, calls, puts).flip for spot in (97.0, 103.0))
    assert low < 100 < high
    assert exposure_at(97.0, calls, puts).net * exposure_at(103.0, calls, puts).net > 0


def test_the_profile_goes_through_the_net_at_the_spot_and_follows_given_levels() -> None:
    calls, puts = np.arange(9.0), np.arange(9.0)[::-1]
    found = gamma_exposure(
        STRIKES, np.full(9, 0.2), calls, puts, spot=100.0, forward=100.0, time_to_expiry=YEARS, rate=RATE,
        levels=[95.0, 100.0, 105.0],
    )  # fmt: skip
    assert found.levels.tolist() == [95.0, 100.0, 105.0]
    assert found.profile[1] == pytest.approx(found.net, rel=1e-12)


def test_strikes_that_are_not_known_are_left_out() -> None:
    calls = np.where(np.arange(9) == 4, math.nan, 100.0)
    found = exposure_at(100.0, calls, np.full(9, 50.0))
    assert np.isnan(found.call).tolist() == np.isnan(calls).tolist()
    assert found.net == pytest.approx(np.nansum(found.call) + found.put.sum(), rel=1e-14)


@pytest.mark.parametrize("name", ["spot", "forward", "time_to_expiry", "rate"])
@pytest.mark.parametrize("value", [math.nan, 0.0, -1.0, math.inf])
def test_a_market_without_an_answer_gives_nan(name: str, value: float) -> None:
    market = {"spot": 100.0, "forward": 100.0, "time_to_expiry": 0.25, "rate": 0.0} | {name: value}
    found = gamma_exposure([90.0, 110.0], [0.2, 0.2], [10.0, 0.0], [0.0, 10.0], **market)
    if name == "rate" and math.isfinite(value):
        assert math.isfinite(found.net)
    else:
        assert math.isnan(found.net) or found.net == 0
        assert math.isnan(found.flip)


def test_misuse_is_refused() -> None:
    market = {"spot": 100.0, "forward": 100.0, "time_to_expiry": 0.25, "rate": 0.0}
    with pytest.raises(ValueError, match=r"volatility \(2,\)"):
        gamma_exposure([100.0], [0.2, 0.2], [1.0], [1.0], **market)
    with pytest.raises(ValueError, match="levels must be one row of ascending"):
        gamma_exposure([100.0], [0.2], [1.0], [1.0], **market, levels=[2.0, 1.0])

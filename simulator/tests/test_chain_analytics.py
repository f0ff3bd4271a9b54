"""The analytics of `greeks` on a whole expiry of the simulated market, whose forward and smile are known."""

import math
from datetime import date

import numpy as np
import pytest
from numpy.typing import NDArray

from greeks import black76, parity
from greeks.chain import Chain, ChainAnalytics, analyse
from simulator import pricing
from simulator.clock import SessionCalendar
from simulator.instruments import Kind
from simulator.market import Market
from simulator.tests.running import OPEN
from simulator.underlyings import UNDERLYINGS

DAY, EXPIRY = date(2026, 11, 25), date(2026, 12, 29)
NIFTY = next(n for n, underlying in enumerate(UNDERLYINGS) if underlying.name == "NIFTY")
AN_HOUR = 3_600


@pytest.fixture(scope="module")
def market(calendar: SessionCalendar) -> Market:
    """Seed 1, one hour after the opening."""
    market = Market(DAY, calendar)
    market.advance(OPEN)
    market.advance(OPEN + AN_HOUR)
    return market


def rows_of(market: Market, kind: Kind) -> NDArray[np.int64]:
    universe = market.universe
    chosen = (universe.underlyings == NIFTY) & (universe.kinds == kind)
    chosen &= universe.expiries == EXPIRY.toordinal()
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(universe.strikes[rows])]


@pytest.fixture(scope="module")
def chain(market: Market) -> Chain:
    """As a service would build it: middles of the books, the forward by parity, volatilities from prices."""
    calls, puts = rows_of(market, Kind.CALL), rows_of(market, Kind.PUT)
    strikes = market.universe.strikes[calls]
    assert np.array_equal(strikes, market.universe.strikes[puts])
    years = float(market.prices.expiry_closes[calls[0]] - market.now) / pricing.YEAR_SECONDS

    def middle(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        bid, ask = (market.packets[side]["price"][rows, 0].astype(np.float64) for side in ("bids", "offers"))
        return np.where((bid > 0) & (ask > 0), (bid + ask) / 200, np.nan)

    call, put = middle(calls), middle(puts)
    forward = parity.implied_forward(call, put, strikes, years, pricing.CARRY_RATE).forward
    volatility = [
        black76.implied_volatility(price, forward, strikes, years, pricing.CARRY_RATE, is_call).volatility
        for price, is_call in ((call, True), (put, False))
    ]
    spot = market.packets["last_price"][market.universe.row_of_symbol["NSE:NIFTY 50"]] / 100
    oi = [market.packets["oi"][rows].astype(np.float64) for rows in (calls, puts)]
    volume = [market.packets["volume"][rows].astype(np.float64) for rows in (calls, puts)]
    return Chain(
        strike=strikes, call_price=call, put_price=put, call_implied_volatility=volatility[0],
        put_implied_volatility=volatility[1], call_oi=oi[0], put_oi=oi[1], call_volume=volume[0], put_volume=volume[1],
        spot=spot, forward=forward, time_to_expiry=years, rate=pricing.CARRY_RATE,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(chain: Chain) -> ChainAnalytics:
    return analyse(chain)


def at_the_money(market: Market, chain: Chain) -> float:
    """The simulator's own volatility at the forward."""
    opening = market.paths.volatility(DAY)[NIFTY]
    seconds = np.array([0.0, market.now - market.hours.opens_at])
    before, now = market.prices.path.at(np.array([NIFTY, NIFTY]), seconds)
    years = np.array([chain.time_to_expiry])
    return float(pricing.at_the_money_volatility(np.array([opening]), np.array([now]), np.array([before]), years)[0])


def test_a_whole_expiry_is_there(chain: Chain) -> None:
    assert chain.strike.size > 100
    assert np.isfinite(chain.call_oi).all()


def test_the_forward_by_parity_is_the_simulators(chain: Chain, found: ChainAnalytics) -> None:
    expected = chain.spot * math.exp(pricing.CARRY_RATE * chain.time_to_expiry)
    assert found.synthetic_forward.forward == pytest.approx(expected, rel=2e-4)


def test_volatility_at_the_money_is_the_simulators(market: Market, chain: Chain, found: ChainAnalytics) -> None:
    expected = at_the_money(market, chain)
    assert found.atm_implied_volatility == pytest.approx(expected, abs=0.002)
    assert found.smile.at_the_money == pytest.approx(expected, abs=0.002)
    assert found.one_sigma_move == pytest.approx(expected * math.sqrt(chain.time_to_expiry), rel=0.02)


def test_the_fitted_smile_follows_the_simulators(market: Market, chain: Chain, found: ChainAnalytics) -> None:
    middle = np.array([expected := at_the_money(market, chain)])
    distance = np.linspace(-2.0, 2.0, 41)
    strikes = chain.forward * np.exp(distance * expected * math.sqrt(chain.time_to_expiry))
    assert found.smile.implied_volatility(strikes) == pytest.approx(pricing.smile(middle, distance), abs=0.003)
    assert found.smile.residual < 0.003
    # At ±0.6745 deviations the smile's skew alone makes -0.09·2·0.6745 of the volatility at the money.
    assert found.risk_reversal == pytest.approx(-0.09 * 2 * 0.6745 * expected, rel=0.1)
    assert 0 < found.butterfly < 0.02 * expected


def test_sums_and_levels_hang_together(chain: Chain, found: ChainAnalytics) -> None:
    assert found.put_call_ratio_oi == pytest.approx(chain.put_oi.sum() / chain.call_oi.sum(), rel=1e-12)
    exposure = found.gamma_exposure
    assert exposure.net == pytest.approx(np.nansum(exposure.call) + np.nansum(exposure.put), rel=1e-9)
    assert found.max_pain in chain.strike
    assert abs(found.max_pain - chain.spot) < 0.1 * chain.spot
    assert found.atm_strike in chain.strike
    assert found.straddle.implied_move == pytest.approx(0.8 * found.one_sigma_move, rel=0.05)
    for walls, of in ((found.resistance, chain.call_oi), (found.support, chain.put_oi)):
        assert walls.size[0] == of.max()
        assert (np.diff(walls.size) <= 0).all()

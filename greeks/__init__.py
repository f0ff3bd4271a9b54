"""European options: prices, Greeks and implied volatilities. Arrays in, arrays out; numpy and scipy, nothing else.

    from greeks import black76, parity

    forward = parity.implied_forward(calls, puts, strikes, years, rate).forward
    volatility, reason = black76.implied_volatility(prices, forward, strikes, years, rate, is_call)
    result = black76.greeks(forward, strikes, years, rate, volatility, is_call)

`black76` (on a forward) and `black_scholes` (on a spot with a dividend yield) are the models. Each has `greeks`,
`second_order` (vanna, charm, vomma, speed), `price` and `implied_volatility`, with the same arguments in the same
order, so that a setting can name the module.
Calls and puts go into one call by the mask `is_call`. Misuse (shapes that do not broadcast, a mask that is not boolean)
raises; a quote that has no answer gives `nan`, with a `Reason` from the solver, and never a warning.

On top of them, a subject to a module: `chain` (all that can be read from one expiry: `analyse`), with `open_interest`,
`gamma_exposure` and `smile` under it; `term_structure` over the expiries; `history` (rank and percentile); `positions`
and `payoff` for legs held together. Formulas and conventions of all of them: docs/greeks.md.

Units: `time_to_expiry` in years of 365 days (`years_between`); rates, yields and volatilities per year as fractions;
theta and charm per calendar day; vega, rho, vanna and vomma per 0.01.
"""

from greeks import black76, black_scholes, parity
from greeks.expiry import years_between
from greeks.implied_volatility import ImpliedVolatility, Reason
from greeks.kernel import Greeks
from greeks.parity import ParityForward
from greeks.second_order import SecondOrder

__all__ = [
    "Greeks",
    "ImpliedVolatility",
    "ParityForward",
    "Reason",
    "SecondOrder",
    "black76",
    "black_scholes",
    "parity",
    "years_between",
]

"""An option stripped of money and time: the out-of-the-money Black price in units of √(F·K).

With x = |ln(F/K)| and v = σ√T it is a function of these two alone,

    b(x, v) = e^(-x/2) Φ(d1) - e^(x/2) Φ(d2),      d1, d2 = -x/v ± v/2,

which the textbook form computes as a difference of nearly equal numbers: a minute before expiry nothing is left of it.
Both terms share the factor φ(d1) e^(-x/2) = φ(d2) e^(x/2) = φ(x/v) e^(-v²/8), hence

    b = φ(x/v) e^(-v²/8) · g,      g = R(d1) - R(d2),      R(z) = Φ(z) / φ(z) = √(π/2) erfcx(-z/√2),

and g is smooth: for small v we take its Taylor series about the midpoint z = -x/v, otherwise the difference as it
stands. R solves R' = 1 + zR, which gives all its derivatives; d(ln b)/dv = 1/g. Relative accuracy is a few parts in
1e14 however far out of the money, and the logarithm of b does not underflow. In money the factor is the slope F·φ(d1)
that vega has too: the time value is slope · g.
"""

import math

import numpy as np
from scipy.special import erfcx

from greeks.arrays import Floats, least

LN_SQRT_2PI = 0.5 * math.log(2 * math.pi)
SQRT_HALF_PI = math.sqrt(0.5 * math.pi)
SQRT_HALF = math.sqrt(0.5)
SQRT_PI = math.sqrt(math.pi)
SQRT_2PI = math.sqrt(2 * math.pi)
# The v up to which the series is exact to rounding (its next term under 1e-14 of the sum), and its last term.
NARROW, NARROW_TERMS = 0.2, 9
WIDE, WIDE_TERMS = 0.7, 17


def mills(z: Floats) -> Floats:
    """R(z) = Φ(z)/φ(z); infinite above z ≈ 38, where only a price at its upper bound leads."""
    ratio: Floats = SQRT_HALF_PI * erfcx(-SQRT_HALF * z)
    return ratio


def log_ratio(a: Floats, b: Floats) -> Floats:
    """ln(a/b), as exact for near-equal numbers as for far ones: a - b loses nothing there, a/b does.

    The caller silences the logarithm of zero that an a of nearly nothing passes through.
    """
    change = a - b
    change /= b
    ratio: Floats = np.log1p(change)
    if least(change) < -0.5:  # 1 + change then has fewer digits than a/b; the reverse has them all
        ratio = np.where(change < -0.5, -np.log1p((b - a) / a), ratio)
    return ratio


def mills_gap(h: Floats, v: Floats) -> Floats:
    """g(h, v) = R(-h + v/2) - R(-h - v/2), for h = x/v >= 0 and v >= 0 of one shape."""
    gap = _gap_series(h, v, NARROW_TERMS)
    wide = v >= NARROW
    if wide.any():
        h, v = h[wide], v[wide]
        difference = mills(-h + 0.5 * v) - mills(-h - 0.5 * v)
        # At the money the difference still costs a digit.
        gap[wide] = np.where((v < WIDE) & (h < 1.0), _gap_series(h, v, WIDE_TERMS), difference)
    return gap


def _gap_series(h: Floats, v: Floats, last: int) -> Floats:
    """v·(c1 + u c3 + u² c5 + … c_last) with u = v²/4 and c_n = R⁽ⁿ⁾(-h)/n!, where R' = 1 + zR gives

    c1 = 1 - hR,   c3 = ((h² + 3) c1 - 1) / 6,   c_n+2 = ((h² + 2n + 1) c_n - c_n-2) / ((n + 1)(n + 2)).
    """
    hh, u = h * h, v * v
    u *= 0.25
    z = SQRT_HALF * h
    c1 = erfcx(z)
    c1 *= z
    c1 *= -SQRT_PI
    c1 += 1.0
    terms = [c1]
    before: Floats | float = 1.0
    for n in range(1, last, 2):
        term = hh + (2 * n + 1)
        term *= terms[-1]
        term -= before
        term *= 1 / ((n + 1) * (n + 2))
        before = terms[-1]
        terms.append(term)
    gap = terms.pop()
    while terms:
        gap *= u
        gap += terms.pop()
    gap *= v
    return gap

"""Fitting an SVI curve, on a scale on which the variance at the money and one standard deviation of moneyness are one.

Raw SVI is a line and a hyperbola,

    w(x) = level + tilt·x + c·√((x - m)² + σ²),

whose wings rise by c + tilt to the right and c - tilt to the left. For a given m and σ the rest is linear least
squares, with bounds: no wing may fall outwards nor rise too steeply, and the bottom may not lie below zero. So the
problem has two dimensions (De Marco and Martini), and in these it is well behaved, where in five it is a long bent
valley:

1. *Start.* The best of a grid of (m, σ). Lines are removed from everything beforehand, as they are alike for all, and
   each candidate then costs one root and three inner products.
2. *Gauss–Newton* with Levenberg's damping in (m, ln σ), along the derivatives that are left when what the linear part
   explains has been projected out (Kaufman). Convergence is quadratic where the smile is an SVI.

Then what stands apart from the rest, as stale quotes do, is dropped, and step 2 is taken up again from where it stands.

References
----------
J. Gatheral, The Volatility Surface, Wiley, 2006, ch. 3.
S. De Marco and C. Martini, Quasi-explicit calibration of Gatheral's SVI model, Zeliade white paper, 2009.
L. Kaufman, BIT, vol. 15, no. 1, pp. 49-57, 1975.
"""

import math
from dataclasses import dataclass

import numpy as np

from greeks.arrays import Floats, Mask

PARAMETERS = 5
NORMAL = 1.4826  # a normal spread is so many times its median absolute deviation
# Outliers drag the first fit along, so that some of them look like insiders and the other way round. First only the
# better half or so is fitted to, then more, and in the end all that lies within four spreads.
CUTS = (1.0, 2.0, 4.0)
APART = 5.0  # what calls for this at all
ALIKE = 0.01  # of the variance at the money: half a per cent of volatility is no outlier, however good the rest is

# How far the vertex m and (by its logarithm) the roundness σ may go, and the grid of them.
FARTHEST_VERTEX = 5.0
LEAST_ROUNDNESS, MOST_ROUNDNESS = math.log(0.01), math.log(30.0)
_GRID_M, _GRID_SIGMA = (
    axis.ravel() for axis in np.meshgrid(np.linspace(-3.0, 3.0, 11), np.geomspace(0.1, 6.0, 8), indexing="ij")
)
STEPS = 40
ROUGHLY, FINELY = 1e-2, 1e-5  # the share of the squared error that a step may save and be the last
EXACT = 1e-22  # the squared error of a smile that is an SVI, by rounding
LEAST_DAMPING, GIVE_UP = 1e-3, 1e8


@dataclass(frozen=True, slots=True)
class Curve:
    """w(x) = a + c·√(z² + σ²) + d·z, z = x - m: raw SVI with c = b, d = bρ."""

    a: float
    c: float
    d: float
    m: float
    sigma: float

    def variance(self, x: Floats) -> Floats:
        z = x - self.m
        root = np.sqrt(z * z + self.sigma * self.sigma)
        root *= self.c
        z *= self.d
        root += z
        root += self.a
        return root


def fit_without_outliers(x: Floats, w: Floats, weight: Floats, steepest: float) -> tuple[Curve, Mask]:
    """The curve, and which points it was fitted to in the end.

    `weight` multiplies squared errors and is at most 1; no wing rises faster than `steepest`. There must be at least as
    many points as parameters, and not all in one place.
    """
    root_weight = np.sqrt(weight)
    kept = np.ones(x.shape, dtype=np.bool_)
    problem = _Reduced(x, w, root_weight, steepest)
    curve = problem.minimise(*_best_of_grid(x, w, weight, steepest), ROUGHLY)
    for spreads in CUTS:
        apart = np.abs(curve.variance(x) - w)
        apart *= root_weight
        usual = NORMAL * _median(apart)
        # Where nothing stands apart the first look is the last.
        if kept.all() and not apart.max() > max(APART * usual, ALIKE):
            break
        good = apart <= max(spreads * usual, ALIKE)
        if np.count_nonzero(good) <= PARAMETERS:
            break
        kept = good
        problem = _Reduced(x[good], w[good], root_weight[good], steepest)
        curve = problem.minimise(curve.m, curve.sigma, ROUGHLY)
    return problem.minimise(curve.m, curve.sigma, FINELY), kept


def _median(values: Floats) -> float:
    """The upper one of two: numpy's own takes longer than all the rest of the test for outliers."""
    middle = values.size // 2
    return float(np.partition(values, middle)[middle])


def _best_of_grid(x: Floats, w: Floats, weight: Floats, steepest: float) -> tuple[float, float]:
    """Where of the grid the least error is left. ⟨f⟩ is the weighted mean, e the standard score of x."""
    share = weight / weight.sum()
    centre, level = float(share @ x), float(share @ w)
    e = x - centre
    spread = math.sqrt(float(share @ (e * e)))
    e /= spread
    tilt = float((share * e) @ w)
    rest = w - level - tilt * e

    root = x - _GRID_M[:, None]
    root *= root
    root += (_GRID_SIGMA**2)[:, None]
    np.sqrt(root, out=root)
    mean, slope, with_rest = (root @ np.array([share, share * e, share * rest]).T).T
    square = spread * spread + (centre - _GRID_M) ** 2 + _GRID_SIGMA**2
    own = np.maximum(square - mean * mean - slope * slope, 1e-14)  # what of the root is no line

    c = np.maximum(with_rest / own, 0.0)
    d = (tilt - c * slope) / spread
    # A wing that would fall outwards is laid flat: then d = ±c, and one function, root ± z, is left to fit.
    bent = np.abs(d) > c
    sign = np.copysign(1.0, d)
    wing_slope = slope + sign * spread
    alone = np.maximum((with_rest + tilt * wing_slope) / (own + wing_slope * wing_slope), 0.0)
    c = np.where(bent, alone, c)
    line = np.where(bent, tilt - alone * wing_slope, 0.0)
    missed = line * line + c * (c * own - 2 * with_rest)  # the squared error, less a constant
    d = np.where(bent, sign * c, d)
    a = level - c * mean - d * (centre - _GRID_M)
    bottom = a + _GRID_SIGMA * np.sqrt(np.maximum(c * c - d * d, 0.0))
    allowed = (bottom >= 0) & (c + np.abs(d) <= steepest)
    best = int(np.argmin(np.where(allowed, missed, np.inf) if allowed.any() else missed))
    return float(_GRID_M[best]), float(_GRID_SIGMA[best])


class _Reduced:
    """The problem in (m, ln σ). What stands here is multiplied by the root of the weight, so that sums are plain."""

    def __init__(self, x: Floats, w: Floats, root_weight: Floats, steepest: float) -> None:
        self.x, self.root_weight, self.steepest = x, root_weight, steepest
        self.total = float(np.sqrt(root_weight @ root_weight))
        one = root_weight / self.total
        weighted_x = root_weight * x
        self.mean_x = float(weighted_x @ one) / self.total
        line = weighted_x - self.mean_x * root_weight
        self.spread = float(np.sqrt(line @ line))  # of x, and so the share of the unit line in x
        line /= self.spread
        self.lines = np.array([one, line])
        # The variances as they are, without their mean, and without the line through them.
        self.goals = [root_weight * w]
        self.mean, self.tilt = (self.lines @ self.goals[0]).tolist()
        self.goals.append(self.goals[0] - self.mean * one)
        self.goals.append(self.goals[1] - self.tilt * line)

    def minimise(self, m: float, sigma: float, enough: float) -> Curve:
        at = self._best_with(m, math.log(sigma))
        damping = LEAST_DAMPING
        for _ in range(STEPS):
            if at.error <= EXACT or at.c == 0:
                break
            new = self._best_with(*at.next(damping))
            if new.error < at.error:
                saved = at.error - new.error
                at = new
                damping *= 0.1
                if saved <= enough * at.error:
                    break
            else:
                damping = max(10.0 * damping, LEAST_DAMPING)
                if damping > GIVE_UP:
                    break
        return Curve(at.a, at.c, at.d, at.m, math.exp(at.ln_sigma))

    def _best_with(self, m: float, ln_sigma: float) -> "_Point":
        """The best allowed curve with this vertex and roundness, by the first of three faces that allows it."""
        z = self.x - m
        square = math.exp(2.0 * ln_sigma)
        root = np.sqrt(z * z + square)
        f = np.empty((3, z.size))  # the hyperbola, and its derivatives by m and ln σ
        f[0] = root
        np.divide(z, -root, out=f[1])
        np.divide(square, root, out=f[2])
        f *= self.root_weight
        free = self._both_wings(m, ln_sigma, f)
        if abs(free.d) <= free.c and free.a + math.sqrt(square * (free.c * free.c - free.d * free.d)) >= 0:
            return free
        # A wing would fall outwards, or under the ground: it is laid flat, which leaves one function, root ± z.
        side = math.copysign(1.0, free.d)
        f[0] += (side * self.root_weight) * z
        f[1] -= side * self.root_weight
        flat = self._one_wing(m, ln_sigma, f, side, grounded=False)
        return flat if flat.a >= 0 else self._one_wing(m, ln_sigma, f, side, grounded=True)

    def _both_wings(self, m: float, ln_sigma: float, f: Floats) -> "_Point":
        on_lines = f @ self.lines.T
        rest = f - on_lines @ self.lines
        own = float(rest[0] @ rest[0])
        c = max(float(rest[0] @ self.goals[2]) / own, 0.0) if own > 0 else 0.0
        d = best_d = (self.tilt - c * float(on_lines[0, 1])) / self.spread
        if (slope := c + abs(d)) > self.steepest and abs(d) <= c:
            c, d = c * self.steepest / slope, d * self.steepest / slope
            best_d = (self.tilt - c * float(on_lines[0, 1])) / self.spread
        left = self.goals[2] - c * rest[0]
        if d != best_d:
            left += (best_d - d) * self.spread * self.lines[1]
        a = (self.mean - c * float(on_lines[0, 0])) / self.total - d * (self.mean_x - m)
        return _Point.of(a, c, d, m, ln_sigma, rest, left)

    def _one_wing(self, m: float, ln_sigma: float, f: Floats, side: float, *, grounded: bool) -> "_Point":
        """`side`: +1 for a right wing and a flat left, -1 the other way; `grounded`: the flat one at zero."""
        rest, goal = f, self.goals[0]
        if not grounded:
            on_one = f @ self.lines[0]
            rest, goal = f - np.outer(on_one, self.lines[0]), self.goals[1]
        own = float(rest[0] @ rest[0])
        c = min(max(float(rest[0] @ goal) / own, 0.0), 0.5 * self.steepest) if own > 0 else 0.0
        a = 0.0 if grounded else (self.mean - c * float(on_one[0])) / self.total
        return _Point.of(a, c, side * c, m, ln_sigma, rest, goal - c * rest[0])


@dataclass(frozen=True, slots=True)
class _Point:
    """A vertex and roundness with the best curve for them, its squared error, and what the next step needs."""

    a: float
    c: float
    d: float
    m: float
    ln_sigma: float
    error: float
    products: list[list[float]]  # of the hyperbola and its two derivatives with each other,
    with_left: list[float]  # and with what is left over

    @classmethod
    def of(cls, a: float, c: float, d: float, m: float, ln_sigma: float, f: Floats, left: Floats) -> "_Point":
        return cls(a, c, d, m, ln_sigma, float(left @ left), (f @ f.T).tolist(), (f @ left).tolist())

    def next(self, damping: float) -> tuple[float, float]:
        """Gauss–Newton for (m, ln σ), with what the hyperbola itself explains taken out: two equations, by hand.

        One of them that stands at its bound and would leave is held there, and the other steps for itself.
        """
        (ff, fm, fs), (_, mm, ms), (_, _, ss) = self.products
        mm, ms, ss = (mm - fm * fm / ff) * (1 + damping), ms - fm * fs / ff, (ss - fs * fs / ff) * (1 + damping)
        by_m, by_s = self.with_left[1] / self.c, self.with_left[2] / self.c
        if not (mm > 0 and ss > 0 and mm * ss > ms * ms):
            return self.m, self.ln_sigma
        m, ln_sigma = (
            self.m + (by_m * ss - by_s * ms) / (mm * ss - ms * ms),
            self.ln_sigma + (by_s * mm - by_m * ms) / (mm * ss - ms * ms),
        )
        if abs(m) > FARTHEST_VERTEX:
            m = math.copysign(FARTHEST_VERTEX, m)
            ln_sigma = self.ln_sigma + (by_s - ms * (m - self.m)) / ss
        if not LEAST_ROUNDNESS < ln_sigma < MOST_ROUNDNESS:
            ln_sigma = min(max(ln_sigma, LEAST_ROUNDNESS), MOST_ROUNDNESS)
            m = self.m + (by_m - ms * (ln_sigma - self.ln_sigma)) / mm
            m = min(max(m, -FARTHEST_VERTEX), FARTHEST_VERTEX)
        return m, ln_sigma

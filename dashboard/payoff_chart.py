"""The picture of a payoff: where its lines run and its labels stand, in the units of its own box. Pure.

The template writes the SVG; colours are the stylesheet's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

import numpy as np
from numpy.typing import NDArray

from dashboard import formats

WIDTH, HEIGHT = 348, 190
LEFT, RIGHT, TOP, BOTTOM = 40, 8, 16, 18
HEADROOM = 0.08
_LAKH, _THOUSAND = 1e5, 1e3

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Label:
    """A word at a place; `anchor` as SVG has it."""

    x: str
    y: str
    text: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Dot:
    x: str
    y: str
    label: Label | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """Paths as SVG's `d`; places as text with one decimal. `now`, `spot_x` and `here` are empty where not known."""

    at_expiry: str
    gain: str
    loss: str
    now: str
    zero_y: str
    spot_x: str
    here: Dot | None
    break_evens: Sequence[Dot]
    levels: Sequence[Label]  # rupees, at the left
    strikes: Sequence[Label]  # spots, below
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def chart_of(
    spots: Floats,
    at_expiry: Floats,
    now: Floats | None,
    *,
    spot: float | None,
    here: float | None,
    break_evens: Sequence[float],
) -> Chart:
    """The picture.

    Parameters
    ----------
    spots, at_expiry, now : shape (n,), ascending spots and the profit there in rupees, finite
    spot, here : where the underlying is and what the position is worth there; None where not known
    """
    shown = [at_expiry] if now is None else [at_expiry, now]
    lowest = min(0.0, *(float(one.min()) for one in shown))
    highest = max(0.0, *(float(one.max()) for one in shown))
    pad = (highest - lowest or 1.0) * HEADROOM
    lowest, highest = lowest - pad, highest + pad

    first, last = float(spots[0]), float(spots[-1])

    def x(value: float) -> float:
        return LEFT + (value - first) / (last - first) * (WIDTH - RIGHT - LEFT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - lowest) / (highest - lowest) * (HEIGHT - BOTTOM - TOP)

    def line(values: Floats) -> str:
        return "M" + "L".join(f"{x(at):.1f} {y(value):.1f}" for at, value in zip(spots, values, strict=True))

    def area(values: Floats) -> str:
        return f"{line(values)}L{x(last):.1f} {y(0):.1f}L{x(first):.1f} {y(0):.1f}Z"

    near = [one for one in break_evens if first < one < last]
    return Chart(
        at_expiry=line(at_expiry),
        gain=area(np.maximum(at_expiry, 0.0)),
        loss=area(np.minimum(at_expiry, 0.0)),
        now="" if now is None else line(now),
        zero_y=f"{y(0):.1f}",
        spot_x="" if spot is None else f"{x(spot):.1f}",
        here=None if spot is None or here is None else Dot(f"{x(spot):.1f}", f"{y(here):.1f}"),
        break_evens=_dots([x(one) for one in near], near, y(0)),
        levels=[
            Label(f"{LEFT - 5}", f"{y(value) + 3:.1f}", _short(value), "end") for value in ticks(lowest, highest, 4)
        ],
        strikes=[
            Label(f"{x(value):.1f}", f"{HEIGHT - 4}", formats.grouped(value))
            for value in ticks(first, last, 4)
            if LEFT + 16 < x(value) < WIDTH - RIGHT - 16
        ],
    )


def ticks(lowest: float, highest: float, count: int) -> list[float]:
    """Round values between two ends, about `count` of them."""
    raw = (highest - lowest) / count
    if not raw > 0:
        return []
    power = 10.0 ** floor(log10(raw))
    step = next(multiple for multiple in (1, 2, 2.5, 5, 10) if multiple * power >= raw * 0.999) * power
    first = int(np.ceil(lowest / step - 1e-9))
    return [step * number for number in range(first, int(np.floor(highest / step + 1e-9)) + 1)]


def _dots(places: Sequence[float], spots: Sequence[float], zero: float) -> list[Dot]:
    """Break-evens. The outer ones are labelled outwards, so that labels stand apart; those between below the line."""
    dots = []
    for number, (at, spot) in enumerate(zip(places, spots, strict=True)):
        is_first, is_last = number == 0, number == len(spots) - 1
        anchor = "middle" if is_first == is_last else "end" if is_first else "start"
        if at < LEFT + 40:
            anchor = "start"
        elif at > WIDTH - RIGHT - 40:
            anchor = "end"
        label = Label(
            f"{at:.1f}", f"{zero - 7 if is_first or is_last else zero + 14:.1f}", formats.grouped(spot), anchor
        )
        dots.append(Dot(f"{at:.1f}", f"{zero:.1f}", label))
    return dots


def _short(value: float) -> str:
    """`10k`, `−2.5L`, `0`."""
    size = abs(value)
    sign = formats.MINUS if value < 0 else ""
    if size < _THOUSAND:
        return f"{sign}{size:.0f}"
    if size < _LAKH:
        return f"{sign}{size / _THOUSAND:g}k"
    return f"{sign}{size / _LAKH:g}L"

"""Which strikes around the money a rule should hold: a pure function of what is listed, priced and held.

An expiry's *centre* is the strike at the money. It moves only once the price has gone `hysteresis` strikes farther than
half-way to the next strike, so that a price that swings about that point moves nothing. Everything else is measured
from the centre: which strikes are wanted, and in which mode.

What somebody asked for himself is in `explicit`: no move is ever about it, and it takes no slot of the rule's.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_DOWN, Decimal
from enum import StrEnum
from math import ceil
from typing import Final

from streaming.wire_requests import Mode

UNSEEN_STRIKES: Final = 5
"""How far a width by delta reaches where no delta is known yet: each pass goes so far beyond what it knows."""

_MODES: Final = (Mode.LTP, Mode.QUOTE, Mode.FULL)
_HALF: Final = Decimal("0.5")


class WidthKind(StrEnum):
    """In what a rule's width is measured."""

    COUNT = "count"
    """So many strikes on either side of the centre."""
    PERCENT = "percent"
    """So many per cent of the centre, on either side."""
    DELTA = "delta"
    """As far as the option out of the money has a delta of at least so much (and one strike more)."""


class Change(StrEnum):
    """What a move does to an instrument."""

    ADDED = "added"
    REMOVED = "removed"
    PROMOTED = "promoted"
    DEMOTED = "demoted"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a rule says. `full_within` and `quote_within` are strikes from the centre; `hysteresis` too."""

    kind: WidthKind
    width: Decimal
    mode: Mode = Mode.FULL
    full_within: int | None = None
    quote_within: int | None = None
    hysteresis: Decimal = _HALF

    def mode_at(self, distance: int) -> Mode:
        """In which mode a strike is streamed that stands so many strikes from the centre."""
        if self.quote_within is not None and distance > self.quote_within:
            allowed = Mode.LTP
        elif self.full_within is not None and distance > self.full_within:
            allowed = Mode.QUOTE
        else:
            allowed = Mode.FULL
        return min(self.mode, allowed, key=_MODES.index)

    def __str__(self) -> str:
        match self.kind:
            case WidthKind.COUNT:
                return f"±{self.width.normalize():f} strikes"
            case WidthKind.PERCENT:
                return f"±{self.width.normalize():f} %"
            case WidthKind.DELTA:
                return f"a delta of {self.width.normalize():f}"


@dataclass(frozen=True, slots=True)
class Strike:
    """One strike's contracts, by the key that rows know them by."""

    strike: Decimal
    call: int | None
    put: int | None

    @property
    def instruments(self) -> tuple[int, ...]:
        return tuple(key for key in (self.call, self.put) if key is not None)


@dataclass(frozen=True, slots=True)
class Chain:
    """One expiry: its strikes, ascending; what the underlying costs for it; and where its centre was."""

    expiry: date
    strikes: Sequence[Strike]
    price: Decimal
    centre: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """One instrument's change, with its reason in words. `mode` is the one that holds afterwards."""

    instrument: int
    change: Change
    mode: Mode
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The centres that hold from now on, what is to be done, and for how many instruments there was no slot."""

    centres: Mapping[date, Decimal]
    moves: Sequence[Move]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A strike inside a chain's band."""

    expiry: date
    strike: Strike
    distance: int
    centre: Decimal


def decide(
    terms: Terms,
    chains: Sequence[Chain],
    *,
    held: Mapping[int, Mode],
    explicit: Collection[int] = frozenset(),
    deltas: Mapping[int, float] | None = None,
    room: int,
) -> Decision:
    """What a rule should do now.

    Parameters
    ----------
    terms : the rule.
    chains : the expiries it is about, nearest first.
    held : what the rule streams, by instrument, with the mode.
    explicit : what others asked for.
    deltas : of one unit, by instrument; those that are known. Only a width by delta looks at them.
    room : how many instruments the rule may hold, those that it holds included.

    Returns
    -------
    Decision
        Once it is carried out, the same question gives no moves.
    """
    centres: dict[date, Decimal] = {}
    band: list[_Wanted] = []
    for chain in chains:
        if not chain.strikes:
            continue
        middle = _centre(chain, terms.hysteresis)
        centre = centres[chain.expiry] = chain.strikes[middle].strike
        band += [
            _Wanted(chain.expiry, chain.strikes[place], abs(place - middle), centre)
            for place in sorted(_places(terms, chain, middle, held, deltas or {}))
        ]
    fitting, without_slot = _fitting(band, explicit, room)
    left_out = sum(len(_own(one, explicit)) for one in without_slot)
    moves = [
        *_given_up(held, explicit, chains, fitting, without_slot, terms, room),
        *_taken(held, explicit, fitting, terms),
    ]
    return Decision(centres, moves, left_out)


def _centre(chain: Chain, hysteresis: Decimal) -> int:
    """The place of the strike at the money: where it was, unless the price has left it by more than the hysteresis."""
    strikes = [one.strike for one in chain.strikes]
    position = _position(strikes, chain.price)
    if chain.centre in strikes:
        before = strikes.index(chain.centre)
        if abs(position - before) <= _HALF + hysteresis:
            return before
    return int(position.to_integral_value(ROUND_HALF_DOWN))


def _position(strikes: Sequence[Decimal], price: Decimal) -> Decimal:
    """Where a price stands among strikes, in strikes: 2.25 is a quarter of the way from the third to the fourth."""
    above = bisect_right(strikes, price)
    if above == 0:
        return Decimal(0)
    if above == len(strikes):
        return Decimal(len(strikes) - 1)
    below, next_one = strikes[above - 1], strikes[above]
    return above - 1 + (price - below) / (next_one - below)


def _places(
    terms: Terms, chain: Chain, middle: int, held: Mapping[int, Mode], deltas: Mapping[int, float]
) -> Collection[int]:
    """The places of the strikes inside the band."""
    every = range(len(chain.strikes))
    centre = chain.strikes[middle].strike
    match terms.kind:
        case WidthKind.COUNT:
            return [place for place in every if abs(place - middle) <= terms.width]
        case WidthKind.PERCENT:
            reach = centre * terms.width / 100
            return [place for place in every if abs(chain.strikes[place].strike - centre) <= reach]
        case WidthKind.DELTA:
            up = _reach([one.call for one in chain.strikes[middle + 1 :]], deltas, float(terms.width))
            down = _reach([one.put for one in reversed(chain.strikes[:middle])], deltas, float(terms.width))
            # A strike at the edge changes sides with every tick: what is held stays until it is clearly outside.
            slack = max(1, ceil(terms.hysteresis))
            inside = range(middle - down, middle + up + 1)
            around = range(middle - down - slack, middle + up + slack + 1)
            return [
                place
                for place in every
                if place in inside or (place in around and any(key in held for key in chain.strikes[place].instruments))
            ]


def _reach(outwards: Sequence[int | None], deltas: Mapping[int, float], least: float) -> int:
    """How many strikes, counted from the centre outwards, belong to a band by delta.

    The first one below `least` belongs to it: it is how the edge is seen. Where no delta is known the band goes on, but
    not farther than `UNSEEN_STRIKES`: what is not streamed has none.
    """
    unseen = 0
    for count, instrument in enumerate(outwards, start=1):
        delta = None if instrument is None else deltas.get(instrument)
        if delta is None:
            unseen += 1
            if unseen > UNSEEN_STRIKES:
                return count - 1
        elif abs(delta) < least:
            return count
        else:
            unseen = 0
    return len(outwards)


def _fitting(
    band: Sequence[_Wanted], explicit: Collection[int], room: int
) -> tuple[Sequence[_Wanted], Sequence[_Wanted]]:
    """What there are slots for, and what not: the money of every expiry comes before the wings of any."""
    nearest_first = sorted(band, key=lambda one: (one.distance, one.expiry, one.strike.strike))
    used = 0
    for number, one in enumerate(nearest_first):
        used += len(_own(one, explicit))
        if used > room:
            return nearest_first[:number], nearest_first[number:]
    return nearest_first, []


def _own(one: _Wanted, explicit: Collection[int]) -> tuple[int, ...]:
    return tuple(key for key in one.strike.instruments if key not in explicit)


def _given_up(
    held: Mapping[int, Mode],
    explicit: Collection[int],
    chains: Sequence[Chain],
    fitting: Iterable[_Wanted],
    without_slot: Iterable[_Wanted],
    terms: Terms,
    room: int,
) -> Iterator[Move]:
    stays = {key for one in fitting for key in one.strike.instruments}
    no_slot = {key: one for one in without_slot for key in one.strike.instruments}
    listed = {key for chain in chains for one in chain.strikes for key in one.instruments}
    for key in sorted(held.keys() - stays - set(explicit)):
        if one := no_slot.get(key):
            reason = f"no slot: room for {room} instruments, and it stands {_steps(one)}"
        elif key in listed:
            reason = f"outside of {terms}"
        else:
            reason = "its expiry is not followed any more"
        yield Move(key, Change.REMOVED, held[key], reason)


def _taken(
    held: Mapping[int, Mode], explicit: Collection[int], fitting: Iterable[_Wanted], terms: Terms
) -> Iterator[Move]:
    for one in fitting:
        mode = terms.mode_at(one.distance)
        for key in _own(one, explicit):
            before = held.get(key)
            if before is None:
                yield Move(key, Change.ADDED, mode, f"{_steps(one)}: within {terms}")
            elif before != mode:
                is_more = _MODES.index(mode) > _MODES.index(before)
                change = Change.PROMOTED if is_more else Change.DEMOTED
                yield Move(key, change, mode, f"{_steps(one)}: {before} becomes {mode}")


def _steps(one: _Wanted) -> str:
    if not one.distance:
        return "at the money"
    return f"{one.distance} {'strike' if one.distance == 1 else 'strikes'} from {one.centre.normalize():f}"

"""The instruments of a stream process as columns: which row is whose, what it is on, and in which part it stands.

Plain data without Django: whoever subscribes builds `Contract`s from wherever instruments are kept.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from market.names import part_of
from streaming.packet_fields import DIVISORS

CALL, PUT, FUTURE, CASH = "CE", "PE", "FUT", "EQ"
UNKNOWN: Final = -1
"""The slot of a token that is not subscribed, and of a spot or future that a part does not have."""
PLACES: Final = 1 << 20
"""Of the table in which a token's slot is looked up."""


@dataclass(frozen=True, slots=True)
class Contract:
    """One instrument to stream, in the words of the broker's instrument list.

    An index is its underlying's cash, with `instrument_type` "EQ" as the broker writes it. `closes_at` is the moment
    the contract stops trading (Unix seconds, from the exchange's calendar); only options need it. `exchange` tells
    which market's hours hold for it.
    """

    instrument_token: int
    tradingsymbol: str
    underlying: str
    instrument_type: str
    expiry: date | None = None
    strike: float = math.nan
    closes_at: float = math.nan
    exchange: str = ""

    @property
    def is_option(self) -> bool:
        return self.instrument_type in (CALL, PUT)


@dataclass(frozen=True, slots=True)
class Part:
    """One underlying's options of one expiry or, with `expiry` None, its cash and futures."""

    name: str
    underlying: str
    expiry: date | None
    slots: NDArray[np.intp]
    """Its rows in display order: options by strike, call before put; cash before futures."""
    pairs: NDArray[np.intp]
    """The (call, put) slots of every strike that has both, by strike, shape (n, 2)."""
    spot: int
    future: int
    """The future that expires with the options or else the next one to expire after them."""
    future_expires_too: bool
    """Whether `future` expires on the day of the options: only then is its price their forward."""
    expires_at: float
    decimals: int | None
    """Of the prices of all its instruments as the broker sends them; None if they differ."""


class Instruments:
    """Every subscribed instrument, one slot each, in the order of tokens. Immutable."""

    def __init__(self, contracts: Iterable[Contract]) -> None:
        """
        Raises
        ------
        ValueError
            If two contracts share a token, or an option has no strike or no expiry.
        """
        by_token = sorted(contracts, key=lambda contract: contract.instrument_token)
        self.contracts: Sequence[Contract] = by_token
        self.tokens: NDArray[np.uint32] = np.array([c.instrument_token for c in by_token], np.uint32)
        if (np.diff(self.tokens.astype(np.int64)) == 0).any():
            raise ValueError("two contracts have the same instrument_token")
        for contract in by_token:
            if contract.is_option and (contract.expiry is None or not contract.strike > 0):
                raise ValueError(f"{contract.tradingsymbol}: an option needs an expiry and a strike above zero")
        self.divisor: NDArray[np.float64] = DIVISORS[self.tokens & 0xFF]
        """What the broker's whole numbers are divided by to be prices."""
        self._places = np.zeros(PLACES, np.int32)
        self._places[_place_of(self.tokens)] = np.arange(len(by_token))
        self.is_option: NDArray[np.bool_] = np.array([c.is_option for c in by_token], np.bool_)
        self.is_call: NDArray[np.bool_] = np.array([c.instrument_type == CALL for c in by_token], np.bool_)
        self.strike: NDArray[np.float64] = np.array([c.strike for c in by_token], np.float64)
        self.parts: dict[str, Part] = _parts(by_token, self.divisor.tolist())
        self._part_names = list(self.parts)
        self.part_number: NDArray[np.intp] = np.full(len(by_token), UNKNOWN, np.intp)
        self.spot: NDArray[np.intp] = np.full(len(by_token), UNKNOWN, np.intp)
        for number, part in enumerate(self.parts.values()):
            self.part_number[part.slots] = number
            self.spot[part.slots] = part.spot
        self.number_of_part = {name: number for number, name in enumerate(self.parts)}
        self.pairs: NDArray[np.intp] = np.concatenate(
            [part.pairs for part in self.parts.values()] or [np.empty((0, 2), np.intp)]
        )
        """The pairs of all parts, one part after the other; those of part n from `first_pair[n]` on."""
        self.first_pair: NDArray[np.intp] = np.cumsum([0, *(len(part.pairs) for part in self.parts.values())])
        self.pair_strike: NDArray[np.float64] = self.strike[self.pairs[:, 0]]
        # Each part's strikes lifted above those of the part before, so that they ascend from first to last.
        self.part_lift = 1.0 + float(self.pair_strike.max(initial=0.0))
        self.lifted_strike = self.pair_strike + self.part_lift * np.repeat(
            np.arange(len(self.parts)), np.diff(self.first_pair)
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def slots_of(self, tokens: NDArray[np.unsignedinteger]) -> NDArray[np.intp]:
        """The slot of each token, `UNKNOWN` where it is not subscribed."""
        if not len(self.tokens):
            return np.full(len(tokens), UNKNOWN, np.intp)
        slots: NDArray[np.intp] = self._places[_place_of(tokens)].astype(np.intp)
        others = np.flatnonzero(self.tokens[slots] != tokens)
        if others.size:
            found = np.searchsorted(self.tokens, tokens[others])
            found[found == len(self.tokens)] = 0
            slots[others] = np.where(self.tokens[found] == tokens[others], found, UNKNOWN)
        return slots

    def parts_of(self, slots: NDArray[np.intp]) -> dict[str, NDArray[np.intp]]:
        """The slots by the name of their part, in the order given."""
        numbers = self.part_number[slots]
        order = np.argsort(numbers, kind="stable")
        grouped, numbers = slots[order], numbers[order]
        starts = np.flatnonzero(np.diff(numbers, prepend=UNKNOWN))
        names = [self._part_names[number] for number in numbers[starts].tolist()]
        ends = np.append(starts[1:], len(slots)).tolist()
        return {name: grouped[start:end] for name, start, end in zip(names, starts.tolist(), ends, strict=False)}


def _place_of(tokens: NDArray[np.unsignedinteger]) -> NDArray[Any]:
    """Where a token's slot is looked up; the few that share a place with another one are searched for.

    The low byte is the segment, and what is above it counts up within an exchange: instruments that are streamed
    together have places side by side.
    """
    return (tokens >> 8) % PLACES


def _parts(contracts: Sequence[Contract], divisors: Sequence[float]) -> dict[str, Part]:
    members: defaultdict[tuple[str, date | None], list[int]] = defaultdict(list)
    cash: dict[str, int] = {}
    futures: defaultdict[str, list[tuple[date, int]]] = defaultdict(list)
    for slot, contract in enumerate(contracts):
        members[contract.underlying, contract.expiry if contract.is_option else None].append(slot)
        if contract.instrument_type == FUTURE and contract.expiry is not None:
            futures[contract.underlying].append((contract.expiry, slot))
        elif not contract.is_option:
            cash.setdefault(contract.underlying, slot)

    def place(slot: int) -> tuple[float, bool, date, str]:
        contract = contracts[slot]
        strike = contract.strike if contract.is_option else 0.0
        comes_second = contract.instrument_type in (PUT, FUTURE)
        return strike, comes_second, contract.expiry or date.min, contract.tradingsymbol

    parts: dict[str, Part] = {}
    for (underlying, expiry), slots in members.items():
        later = min((future for future in futures[underlying] if expiry is None or future[0] >= expiry), default=None)
        name = part_of(underlying, expiry)
        divisor, *others = {divisors[slot] for slot in slots}
        parts[name] = Part(
            name=name,
            underlying=underlying,
            expiry=expiry,
            slots=np.array(sorted(slots, key=place), np.intp),
            pairs=_pairs(contracts, slots),
            spot=cash.get(underlying, UNKNOWN),
            future=later[1] if later else UNKNOWN,
            future_expires_too=later is not None and later[0] == expiry,
            expires_at=max((contracts[s].closes_at for s in slots), default=math.nan) if expiry else math.nan,
            decimals=None if others else round(math.log10(divisor)),
        )
    return parts


def _pairs(contracts: Sequence[Contract], slots: Iterable[int]) -> NDArray[np.intp]:
    calls = {contracts[slot].strike: slot for slot in slots if contracts[slot].instrument_type == CALL}
    puts = {contracts[slot].strike: slot for slot in slots if contracts[slot].instrument_type == PUT}
    both = [(calls[strike], puts[strike]) for strike in sorted(calls.keys() & puts.keys())]
    return np.array(both, np.intp).reshape(-1, 2)

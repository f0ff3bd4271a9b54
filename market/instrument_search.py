"""Finding instruments by what a person types: ``nifty 26000 ce``, ``rel``, ``relianec fut``.

Every word has to be met. A type (`ce`, `pe`, `call`, `put`, `fut`, `eq`) is the instrument's type; a number stands in
its symbol, as every option's strike does; any other word stands in its symbol or name, one of one or two letters at the
beginning. A word that nothing meets is taken for a slip of the pen and replaced by the name most like it.

The order is that of a search and not of an alphabet: what is called so, what is written on it, what begins so; the
nearest expiry first. A word like `ce` is met by half of all instruments, so at most `MOST_CANDIDATES` of each kind of
match are looked at: a search answers in milliseconds however little it says.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

from django.contrib.postgres.lookups import TrigramSimilar
from django.contrib.postgres.search import TrigramSimilarity
from django.db.models import Q
from django.db.models.functions import Upper

from market.models import Instrument, InstrumentQuerySet
from market.underlyings import INDEX_SPOTS, canonical_name

MOST_CANDIDATES: Final = 500
MOST_WORDS: Final = 8
LONGEST_STRIKE: Final = 10  # digits before the point, and up to four after it
TRIGRAM: Final = 3  # letters below which the index cannot find a word in the middle of another one
LEADING: Final = ("EQ", "FUT")  # what is no option; few, and with an index of their own
TYPES: Final = {"CE": "CE", "CALL": "CE", "PE": "PE", "PUT": "PE", "FUT": "FUT", "FUTURE": "FUT", "EQ": "EQ"}
_NUMBER: Final = re.compile(rf"[0-9]{{1,{LONGEST_STRIKE}}}(?:\.[0-9]{{1,4}})?", re.ASCII)


class Candidate(NamedTuple):
    """As much of an instrument as its place among the others depends on."""

    pk: int
    tradingsymbol: str
    name: str
    instrument_type: str
    expiry: date | None
    strike: Decimal


@dataclass(frozen=True, slots=True)
class Wanted:
    """A text, taken apart."""

    text: str
    words: tuple[str, ...]
    types: tuple[str, ...]
    numbers: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "Wanted":
        words, types, numbers = [], [], []
        for word in text.upper().replace(",", " ").split()[:MOST_WORDS]:
            if word in TYPES:
                types.append(TYPES[word])
            elif _NUMBER.fullmatch(word):
                numbers.append(f"{Decimal(word).normalize():f}")  # as symbols have it: `82.5`, not `82.50`
            else:
                words.append(word.rpartition(":")[2])  # `NSE:INFY` is INFY here: the exchange is a filter of its own
        words = [word for word in words if word]
        return cls(" ".join(text.upper().split()).rpartition(":")[2], tuple(words), tuple(types), tuple(numbers))

    @property
    def names(self) -> set[str]:
        """What the underlying may be called: the first word, or all words, by the name that contracts use."""
        return {canonical_name(part) for part in (" ".join(self.words), *self.words[:1]) if part}


def search(instruments: InstrumentQuerySet, text: str) -> list[int]:
    """The primary keys of those of `instruments` that `text` means, the likeliest first; `MOST_CANDIDATES` at most."""
    wanted = Wanted.of(text)
    if not (wanted.words or wanted.types or wanted.numbers):
        return []
    found = _candidates(instruments, wanted)
    if not found and wanted.words:
        corrected = _corrected(wanted)
        if corrected is None:
            return []
        wanted, found = corrected, _candidates(instruments, corrected)
    return [candidate.pk for candidate in ranked(found, wanted)][:MOST_CANDIDATES]


def ranked(candidates: Iterable[Candidate], wanted: Wanted) -> list[Candidate]:
    """Candidates in the order in which a person looks for them."""
    names = wanted.names
    spots = {INDEX_SPOTS[name].tradingsymbol for name in names if name in INDEX_SPOTS}
    strikes = {Decimal(number) for number in wanted.numbers}
    first = wanted.words[0] if wanted.words else ""

    def place(one: Candidate) -> tuple[object, ...]:
        if one.tradingsymbol == wanted.text or one.tradingsymbol in spots or one.tradingsymbol in names:
            rank = 0
        elif one.name in names:
            rank = 1
        elif one.tradingsymbol.startswith(first):
            rank = 2
        elif one.name.upper().startswith(first):
            rank = 3
        else:
            rank = 4
        other_strike = one.strike not in strikes
        return (rank, other_strike, one.expiry or date.min, one.strike, one.tradingsymbol)

    return sorted(candidates, key=place)


def _candidates(instruments: InstrumentQuerySet, wanted: Wanted) -> list[Candidate]:
    """The likely ones of everything that meets all words, each once.

    Three short looks instead of one long one: an underlying's own contracts, what is no option, and whatever else there
    is. The last two are in no order, since to sort half of the table would be the long look again.
    """
    meeting = instruments.filter(_condition(wanted)).order_by()
    own = meeting.filter(name__in=wanted.names).order_by("expiry", "strike", "instrument_type")
    looks = [own] if wanted.names else []
    if not wanted.types or set(wanted.types) & set(LEADING):
        looks.append(meeting.filter(instrument_type__in=LEADING))
    looks.append(meeting)
    found: dict[int, Candidate] = {}
    for look in looks:
        for row in look.values_list(*Candidate._fields)[:MOST_CANDIDATES]:
            found.setdefault(row[0], Candidate(*row))
    return list(found.values())


def _condition(wanted: Wanted) -> Q:
    condition = Q()
    for word in wanted.words:
        if len(word) >= TRIGRAM:
            condition &= Q(tradingsymbol__icontains=word) | Q(name__icontains=word)
        else:
            condition &= Q(tradingsymbol__istartswith=word) | Q(name__istartswith=word)
    for number in wanted.numbers:
        condition &= Q(tradingsymbol__icontains=number)
    if wanted.types:
        condition &= Q(instrument_type__in=wanted.types)
    return condition


def _corrected(wanted: Wanted) -> Wanted | None:
    """The same, but each word that stands nowhere replaced by the name most like it; None if nothing is like one."""
    words = []
    for word in wanted.words:
        standing = Instrument.objects.filter(_condition(Wanted(word, (word,), (), ()))).values_list("pk")
        # Not `exists()`: asked for one row only, PostgreSQL reads the whole table in the hope of a near one.
        if standing[:MOST_CANDIDATES]:
            words.append(word)
            continue
        alike = (
            Instrument.objects.filter(TrigramSimilar(Upper("name"), word), instrument_type__in=LEADING)
            .annotate(likeness=TrigramSimilarity(Upper("name"), word))
            .order_by("-likeness")
            .values_list("name", flat=True)
            .first()
        )
        if alike is None:
            return None
        words.append(alike.upper())
    return Wanted(" ".join(words), tuple(words), wanted.types, wanted.numbers)

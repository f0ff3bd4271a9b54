"""Refilling the minute bars of outages that are over: within the budget, a few instruments at a time, resumable.

The ledger's row says how far it is. What the broker does not answer is asked again after a pause, and given up a day
after the outage ended; an instrument that the broker knows nothing of is given up at once.
"""

import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from django.utils import timezone

from accounts import clock
from accounts.exceptions import BrokerError, CredentialError, RateLimited, RequestRejected
from accounts.stopping import worker_stops
from market.backfill import by_importance
from market.calendar import Calendar, current
from market.candles import Fetch, repair
from market.exceptions import NoAccountForData
from market.gap_models import FeedGap
from market.gaps import Status, open_spans
from market.models import Instrument

logger = logging.getLogger(__name__)

RUN_SECONDS: Final = 40.0
"""A run ends before the next one is rung."""
SETTLED: Final = timedelta(minutes=2)
"""The last minute has to be over, and the broker to have made its candle."""
CLAIM: Final = timedelta(minutes=5)
"""So long a row is one run's; if it dies, another may go on after this."""
PAUSE: Final = timedelta(minutes=5)
GIVE_UP_AFTER: Final = timedelta(days=1)
LONGEST_REASON: Final = 300
UNKNOWN_INSTRUMENT: Final = "InputException"
"""Of a contract that has expired, say."""


@dataclass(slots=True)
class _Progress:
    """What one run did of one outage: the ids that are done, and those that the broker knows nothing of."""

    done: set[int] = field(default_factory=set)
    refused: list[int] = field(default_factory=list)
    bars: int = 0
    reason: str = ""
    has_failed: bool = False
    is_cut_short: bool = False

    def fail(self, exc: Exception) -> Self:
        self.reason, self.has_failed = str(exc)[:LONGEST_REASON], True
        return self

    def cut_short(self) -> Self:
        self.is_cut_short = True
        return self


def refill(*, most: int, fetch: Fetch | None = None) -> int:
    """Refill outages that are due, of `most` instruments at most, the outage that waits longest first.

    Two runs at once do not touch the same outage. Returns how many instruments were dealt with.
    """
    give_up_at = time.monotonic() + RUN_SECONDS
    dealt_with = 0
    while dealt_with < most and not _is_over(give_up_at) and (gap := _claim()) is not None:
        progress = _refill(gap, most - dealt_with, give_up_at, fetch)
        _write_down(gap, progress)
        dealt_with += len(progress.done) + len(progress.refused)
        if progress.has_failed or progress.is_cut_short:
            break  # what keeps one from being refilled keeps the next one
    return dealt_with


def _is_over(give_up_at: float) -> bool:
    return time.monotonic() >= give_up_at or worker_stops()


def _claim() -> FeedGap | None:
    """The outage that is due longest, and ours for a while."""
    while True:
        now = timezone.now()
        due = FeedGap.objects.filter(status=Status.CLOSED, due_at__lte=now, ended_at__lte=clock.now() - SETTLED)
        gap = due.order_by("due_at", "pk").first()
        if gap is None:
            return None
        until = now + CLAIM
        if FeedGap.objects.filter(pk=gap.pk, status=Status.CLOSED, due_at=gap.due_at).update(due_at=until):
            gap.due_at = until
            return gap


def _refill(gap: FeedGap, most: int, give_up_at: float, fetch: Fetch | None) -> _Progress:
    progress, calendar = _Progress(), current()
    instruments = list(Instrument.objects.filter(pk__in=gap.remaining))
    progress.done = set(gap.remaining) - {one.pk for one in instruments}
    for instrument in by_importance(instruments)[:most]:
        if _is_over(give_up_at):
            return progress.cut_short()
        try:
            for start, end in _minutes(gap, instrument, calendar):
                progress.bars += repair(instrument, start, end, give_up_at=give_up_at, fetch=fetch)
        except RateLimited as exc:
            logger.info("the budget for candles is spent, %s is refilled later: %s", gap, exc)
            return progress.cut_short()
        except RequestRejected as exc:
            if exc.error_type != UNKNOWN_INSTRUMENT:  # of the next one it would say the same
                return progress.fail(exc)
            progress.refused.append(instrument.pk)
            progress.reason = f"the broker refuses {instrument}: {exc}"[:LONGEST_REASON]
        except (BrokerError, CredentialError, NoAccountForData) as exc:
            return progress.fail(exc)
        else:
            progress.done.add(instrument.pk)
    return progress


def _minutes(gap: FeedGap, instrument: Instrument, calendar: Calendar) -> list[tuple[datetime, datetime]]:
    """The beginnings of the first and the last minute that are touched, in each of the instrument's sessions."""
    if gap.ended_at is None:
        return []
    return [
        (_minute_of(opens), _minute_of(closes - timedelta(microseconds=1)))
        for opens, closes in open_spans(calendar, [instrument.exchange], gap.started_at, gap.ended_at)
    ]


def _minute_of(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def _write_down(gap: FeedGap, progress: _Progress) -> None:
    now = timezone.now()
    refused = [*gap.refused, *progress.refused]
    changes: dict[str, Any] = {
        "remaining": [pk for pk in gap.remaining if pk not in progress.done and pk not in progress.refused],
        "refused": refused,
        "bars_refilled": gap.bars_refilled + progress.bars,
        "due_at": now,
        "reason": progress.reason or gap.reason,
    }
    is_too_old = gap.closed_at is not None and now - gap.closed_at > GIVE_UP_AFTER
    if progress.has_failed:
        changes["due_at"] = now + PAUSE
        changes["status"] = Status.GIVEN_UP if is_too_old else Status.CLOSED
    elif not changes["remaining"] and refused:
        changes["status"] = Status.GIVEN_UP
    elif not changes["remaining"]:
        changes |= {"status": Status.REPAIRED, "repaired_at": now, "reason": ""}
    FeedGap.objects.filter(pk=gap.pk, due_at=gap.due_at).update(**changes)
    if changes.get("status") == Status.GIVEN_UP:
        logger.error("minute bars of the outage %s are not to be had: %s", gap, changes["reason"])
    elif progress.has_failed:
        logger.warning("the outage %s is refilled later: %s", gap, progress.reason)
    else:
        logger.info("the outage %s: %d bars of %d instruments", gap, progress.bars, len(progress.done))

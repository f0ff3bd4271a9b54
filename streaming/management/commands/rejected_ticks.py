"""`manage.py rejected_ticks`: what of the broker's ticks was not believed lately, and why."""

from datetime import datetime
from typing import Any

import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts.clock import IST
from market.names import RedisNames
from streaming.quarantine import RejectedTick
from streaming.state import StreamState, read_states
from streaming.validation import Reason

_HEADINGS = ("received", "what", "reason", "instrument", "price", "believed", "close", "its time")
TIMEOUT_SECONDS = 2.0


class Command(BaseCommand):
    help = "Show counts by reason since each stream process started, and a sample of the newest such ticks."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=TIMEOUT_SECONDS) as client:
                states = read_states(client, RedisNames(settings.REDIS_PREFIX))
        except redis.RedisError as exc:
            raise CommandError(f"Redis does not answer: {exc}") from None
        if not states:
            raise CommandError("no stream process is running")
        for state in states:
            self._show(state)

    def _show(self, state: StreamState) -> None:
        counts = {reason: state["counters"][reason] for reason in Reason if reason in state["counters"]}
        told = ", ".join(f"{reason} {count}" for reason, count in counts.items()) or "nothing was dropped or flagged"
        self.stdout.write(f"{state['process']}: of {state['counters'].get('ticks', 0)} ticks: {told}")
        rows = [_HEADINGS, *map(_row, state["rejected"])]
        if len(rows) > 1:
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            for row in rows:
                self.stdout.write(
                    "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                )


def _row(tick: RejectedTick) -> tuple[str, ...]:
    return (
        _time(tick["at"]),
        "dropped" if tick["dropped"] else "flagged",
        tick["reason"],
        tick["tradingsymbol"] or str(tick["instrument_token"]),
        f"{tick['last_price']:g}",
        _number(tick["believed_price"]),
        _number(tick["close"]),
        _time(tick["exchange_timestamp"]),
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _time(unix_seconds: float | None) -> str:
    """In India; the broker's zero is no time."""
    return datetime.fromtimestamp(unix_seconds, IST).strftime("%d %b %H:%M:%S") if unix_seconds else "–"

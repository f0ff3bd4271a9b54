"""One reading as one reader is told of it: figures with their words, and nothing of accounts that are not the reader's.

Pure. The frame is `docs/schemas/ws/health.json`; a page shows it as it stands, so that a sentence is written once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from accounts.breaker import BreakerState, Group, breaker_name
from accounts.budget_meters import Meter
from orders.rupees import in_lakhs
from streaming.health import Registry
from streaming.health_rates import Rates
from streaming.health_reading import Reading
from streaming.health_rows import (
    Names,
    Row,
    account_of,
    account_rows,
    alert_rows,
    gap_row,
    gaps_said,
    part_rows,
    process_row,
    slot_rows,
    socket_rows,
    unconfirmed_rows,
)
from streaming.health_verdict import verdict_of
from streaming.health_words import (
    ASIDE_WORDS,
    BREAKER_WORDS,
    GROUP_WORDS,
    METER_WORDS,
    PUBLISHER_WORDS,
    Tone,
    age_words,
    plural,
)
from streaming.state import StreamState

SCHEMA: Final = 1
MOST_ROWS: Final = 100
"""Of sockets, parts and accounts each: those that need a look come first."""
MOST_GAPS_TOLD: Final = 20
MOST_UNCONFIRMED: Final = 20
NEARLY_FULL: Final = 0.8


@dataclass(frozen=True, slots=True)
class WebFigures:
    """The readers of this web process."""

    clients: int
    slow: int  # those that have not acknowledged what they were sent
    pending_bytes: int
    health_clients: int


def frame_of(
    reading: Reading,
    *,
    mine: Collection[str],
    stale_seconds: float,
    rates: Mapping[str, Rates] | None = None,
    web: WebFigures | None = None,
    seq: int = 0,
) -> Row:
    """What a reader who may read the accounts `mine` (Kite user ids) is told.

    Parameters
    ----------
    stale_seconds : from what age on a socket's last price is stale while the market is open.
    rates : by process; None, or without a process: nobody knows yet.
    web : None where nobody looked.
    """
    streams, rates = reading.health.streams, rates or {}
    known = {account.kite_user_id for account in reading.tables.accounts}
    fed = {name for stream in streams for name in stream["accounts"]}
    of_gaps = {account_of(gap.feed) for gap in reading.tables.gaps}
    of_sockets = {account_of(socket["name"]) for stream in streams for socket in stream["sockets"]}
    names = Names(known | fed | of_gaps | of_sockets, mine)
    sockets = socket_rows(reading, names, stale_seconds)
    parts = part_rows(reading, rates)
    accounts = account_rows(reading, names, mine)
    alerts, unconfirmed = alert_rows(reading, names), unconfirmed_rows(reading, names)
    verdict = verdict_of(
        reading, names.within, sockets=sockets, accounts=accounts, alerts=alerts, stale_seconds=stale_seconds
    )
    return {
        "type": "health",
        "schema": SCHEMA,
        "seq": seq,
        "read_at": reading.at,
        "status": reading.health.overall,
        "summary": {"tone": verdict.tone, "title": verdict.title, "detail": verdict.detail},
        "feed": {"state": verdict.feed, "age": verdict.age},
        "market": _market(reading),
        "figures": _figures(reading, sockets, rates, web),
        "services": _services(reading),
        "processes": [process_row(stream, reading, rates.get(stream["process"])) for stream in streams],
        "sockets": _first(sockets),
        "sockets_total": len(sockets),
        "accounts": _first(accounts),
        "slots": slot_rows(reading, names, mine)[:MOST_ROWS],
        "alerts": alerts[:MOST_ROWS],
        "unconfirmed": unconfirmed[:MOST_UNCONFIRMED],
        "unconfirmed_total": len(unconfirmed),
        "parts": _first(parts),
        "parts_total": len(parts),
        "overflow": [
            {"key": part, "part": part, "reason": names.within(reason)}
            for stream in streams
            for part, reason in sorted(stream["overflow"].items())
        ][:MOST_ROWS],
        "aside": _aside(streams),
        "switches": _switches(reading, mine),
        "meters": _meters(reading, mine),
        "gaps": [gap_row(gap, names) for gap in reading.tables.gaps[:MOST_GAPS_TOLD]],
        "gaps_said": gaps_said(reading),
    }


def _first(rows: Sequence[Row]) -> list[Row]:
    """All of them in order or, of too many, those whose news is not good."""
    if len(rows) <= MOST_ROWS:
        return list(rows)
    return sorted(rows, key=lambda row: row["tone"] == "ok")[:MOST_ROWS]


def _market(reading: Reading) -> Row:
    session = reading.session
    return {
        "time": reading.market_time.timestamp(),
        "is_open": reading.is_open,
        "opens_at": session.opens_at.timestamp() if session else None,
        "closes_at": session.closes_at.timestamp() if session else None,
    }


def _figures(reading: Reading, sockets: Sequence[Row], rates: Mapping[str, Rates], web: WebFigures | None) -> Row:
    streams = reading.health.streams
    counters = [stream["counters"] for stream in streams]
    # Of all slots, by every process alike: the newest word counts.
    newest = max(streams, key=lambda stream: stream["written_at"], default=None)
    capacity = newest["capacity"] if newest and newest["capacity"]["total"] else None
    ticks = sum(each.get("ticks", 0) for each in counters)
    doubted = [name for name, (kind, _) in ASIDE_WORDS.items() if kind == "dropped"]
    dropped = sum(each.get(name, 0) for each in counters for name in doubted)
    return {
        "sockets_open": sum(socket["state"] == "open" for socket in sockets),
        "sockets": len(sockets),
        "instruments": sum(stream["active_subscriptions"] for stream in streams),
        "subscribed": sum(socket["subscribed"] for socket in sockets),
        "ticks_per_second": sum(each.ticks for each in rates.values()) if rates else None,
        "windows_per_second": sum(each.windows for each in rates.values()) if rates else None,
        "checked_percent": _percent(ticks - dropped, ticks),
        "dropped": dropped,
        "capacity": capacity["total"] if capacity else None,
        "capacity_free": capacity["free"] if capacity else None,
        "encode_ms": max((stream["encode_seconds"] * 1000 for stream in streams), default=None),
        "lag_ms": max((stream["lag_seconds"] * 1000 for stream in streams), default=None),
        "batches_dropped": sum(each.get("batches_dropped", 0) for each in counters),
        "clients": web.clients if web else None,
        "slow_clients": web.slow if web else None,
        "pending_bytes": web.pending_bytes if web else None,
        "health_clients": web.health_clients if web else None,
    }


def _percent(part: int, whole: int) -> float | None:
    """Of all; a few that are missing of millions do not make it all."""
    if not whole:
        return None
    return 100.0 if part >= whole else min(99.99, max(0.0, 100 * part / whole))


def _services(reading: Reading) -> list[Row]:
    health = reading.health
    registry = health.registry
    rows: list[tuple[str, Tone, str, str]] = [
        ("database", "ok", "PostgreSQL answers", "")
        if health.database == "ok"
        else ("database", "bad", "PostgreSQL does not answer", "Prices go on; accounts and gaps cannot be told"),
        ("redis", "ok", "Redis answers", "")
        if health.redis == "ok"
        else ("redis", "bad", "Redis does not answer", "No process can be heard, and no page gets prices"),
        (
            "instruments",
            "ok",
            f"{in_lakhs(str(registry['instruments']))} contracts are listed",
            _imported(registry, reading.at),
        )
        if registry["status"] == "ok"
        else ("instruments", "warn", "No contracts are listed", "They are imported once an account is logged in"),
        ("stream", "ok", f"{len(health.streams)} stream {plural('process', len(health.streams), 'processes')}", "")
        if health.streams
        else ("stream", "bad", "No stream process runs", "manage.py run_stream starts one"),
        ("calendar", "warn", "The calendar does not say whether the market is open", reading.calendar_problem)
        if reading.calendar_problem
        else ("calendar", "ok", "The market is open" if reading.is_open else "The market is closed", ""),
    ]
    return [
        {
            "key": key,
            "tone": tone,
            "title": title,
            "detail": detail,
        }
        for key, tone, title, detail in rows
    ]


def _imported(registry: Registry, at: float) -> str:
    when = registry["imported_at"]
    return f"Imported {age_words(max(0.0, at - when.timestamp()))} ago" if when else ""


def _aside(streams: Sequence[StreamState]) -> list[Row]:
    """What was counted instead of being believed, the most first. Nothing that never happened."""
    counts: dict[str, int] = {}
    for stream in streams:
        for name, count in stream["counters"].items():
            if name in ASIDE_WORDS and count:
                counts[name] = counts.get(name, 0) + count
    return [
        {"key": name, "kind": ASIDE_WORDS[name][0], "words": ASIDE_WORDS[name][1], "count": count}
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _switches(reading: Reading, mine: Collection[str]) -> list[Row]:
    """What is left alone after it failed: the publishers' Redis, and the broker for each of the reader's accounts."""
    rows = []
    for stream in reading.health.streams:
        tone, words = PUBLISHER_WORDS.get(stream["publisher"], ("warn", stream["publisher"]))
        rows.append({"key": f"redis {stream['process']}", "title": f"Redis, {stream['process']}", "tone": tone})
        rows[-1]["words"] = words
    for account in sorted(mine):
        for group in Group:
            state = reading.health.breakers.get(breaker_name(account, group))
            if state is not None:
                tone, words = BREAKER_WORDS[BreakerState(state)]
                title = f"Broker, {GROUP_WORDS[group]} of {account}"
                rows.append({"key": breaker_name(account, group), "title": title, "tone": tone, "words": words})
    return rows


def _meters(reading: Reading, mine: Collection[str]) -> list[Row]:
    """What is used of the broker's limits: orders by account, data calls by app."""
    own = [account for account in reading.tables.accounts if account.kite_user_id in mine]
    apps = {account.app_id for account in own}
    groups = [(account.kite_user_id, account.label, account.meters) for account in own if account.meters]
    groups += [
        (f"app {app.pk}", f"Data calls of {app.label}", app.meters) for app in reading.tables.apps if app.pk in apps
    ]
    return [
        {"key": key, "name": name, "meters": [_meter(meter, key) for meter in meters]}
        for key, name, meters in groups[:MOST_ROWS]
    ]


def _meter(meter: Meter, owner: str) -> Row:
    free = meter.limit - meter.reserve
    tone: Tone = "ok"
    if meter.used is None:
        tone = "off"
    elif meter.used >= free:
        tone = "bad"
    elif meter.used >= NEARLY_FULL * free:
        tone = "warn"
    return {
        "key": f"{owner} {meter.route_class} {meter.window}",
        "words": METER_WORDS[meter.route_class, meter.window],
        "used": meter.used,
        "limit": meter.limit,
        "percent": 0 if meter.used is None else min(100, round(100 * meter.used / meter.limit)),
        "tone": tone,
    }

"""The rows of a health frame: processes, sockets, accounts, parts and gaps, as one reader is told of them. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from market.gap_models import FeedGap
from orders.rupees import in_lakhs
from streaming.health_rates import Rates
from streaming.health_reading import AccountFacts, GapFacts, Reading
from streaming.health_words import FEED_WORDS, GAP_WORDS, PUBLISHER_WORDS, Tone, plural
from streaming.socket_names import account_and_number
from streaming.state import SlotState, SocketState, StreamState
from streaming.wire_requests import CONNECTIONS_PER_APP, TOKENS_PER_CONNECTION

STRIP_SLOTS: Final = 75
"""Into which the day's session is cut: five minutes each of the regular one."""
HEARD_SECONDS: Final = 3.0
"""A process writes its state every second; from here on it counts as not heard of."""
LATE_SECONDS: Final = 0.25
NO_ACCOUNT: Final = "no account"

Row = dict[str, Any]


class Names:
    """What a reader may be told of accounts: their own names, or only that they are others'."""

    def __init__(self, everybody: Iterable[str], mine: Collection[str]) -> None:
        others = sorted(set(everybody) - set(mine) - {NO_ACCOUNT})
        self._alias = {
            name: "another account" if len(others) == 1 else f"another account ({number})"
            for number, name in enumerate(others, 1)
        }

    def of(self, account: str) -> str:
        return self._alias.get(account, account)

    def is_hidden(self, account: str) -> bool:
        return account in self._alias

    def within(self, text: str) -> str:
        """A sentence, without the names that are not for this reader."""
        for name, alias in self._alias.items():
            text = text.replace(name, alias)
        return text

    def socket(self, name: str) -> str:
        """`AB1234 socket 1` → `AB1234, 1`."""
        account, number = account_and_number(name)
        return f"{self.of(account)}, {number}" if number else self.of(account)


def account_of(socket: str) -> str:
    """Whose socket it is, by its name."""
    return account_and_number(socket)[0]


def silence_of(stream: StreamState, at: float) -> float | None:
    """For how long (s) a process has not been heard of; None while it has."""
    silence = at - stream["written_at"]
    return silence if silence > HEARD_SECONDS else None


def process_row(stream: StreamState, reading: Reading, rates: Rates | None) -> Row:
    tone, words = _process_said(stream, reading)
    return {
        "key": stream["process"],
        "name": stream["process"],
        "source": stream["source"],
        "epoch": stream["epoch"],
        "up_age": max(0.0, reading.at - stream["started_at"]),
        "heard_age": max(0.0, reading.at - stream["written_at"]),
        "instruments": stream["active_subscriptions"],
        "derived": stream["derived_subscriptions"],
        "ticks_per_second": rates.ticks if rates else None,
        "windows_per_second": rates.windows if rates else None,
        "lag_ms": stream["lag_seconds"] * 1000,
        "encode_ms": stream["encode_seconds"] * 1000,
        "publisher": stream["publisher"],
        "tone": tone,
        "words": words,
    }


def _process_said(stream: StreamState, reading: Reading) -> tuple[Tone, str]:
    if silence_of(stream, reading.at) is not None:
        return "bad", "not heard of"
    if stream["publisher"] != "closed":
        tone, words = PUBLISHER_WORDS.get(stream["publisher"], ("warn", stream["publisher"]))
        return tone, words
    if stream["feed_state"] != "live":
        return ("bad", "no prices come") if reading.is_open else ("off", "no prices come")
    if stream["lag_seconds"] > LATE_SECONDS:
        return "warn", "its windows close late"
    return "ok", "well"


def socket_rows(reading: Reading, names: Names, stale_seconds: float) -> list[Row]:
    rows = []
    facts = {account.kite_user_id: account for account in reading.tables.accounts}
    for stream in reading.health.streams:
        for socket in stream["sockets"]:
            last = socket["last_tick_at"]
            tone, words = _socket_said(socket, stream, reading, stale_seconds)
            account = account_of(socket["name"])
            known = None if names.is_hidden(account) else facts.get(account)
            rows.append(
                {
                    "key": f"{stream['process']} {names.socket(socket['name'])}",
                    "name": names.socket(socket["name"]),
                    "account": None if names.is_hidden(account) else account,
                    "monogram": known.monogram if known else "",
                    "colour": known.monogram_colour if known else "",
                    "process": stream["process"],
                    "state": socket["state"],
                    "desired": socket["desired"],
                    "subscribed": socket["subscribed"],
                    "waiting": max(0, socket["desired"] - socket["subscribed"]),
                    "unconfirmed": sum(one["socket"] == socket["name"] for one in stream["unconfirmed"]),
                    "reconnects": socket["reconnects"],
                    "last_tick_age": None if last is None else max(0.0, reading.at - last),
                    "tone": tone,
                    "words": words,
                    "strip": _strip(reading, socket["name"]),
                }
            )
    return sorted(rows, key=lambda row: row["name"])


def _socket_said(socket: SocketState, stream: StreamState, reading: Reading, stale_seconds: float) -> tuple[Tone, str]:
    if silence_of(stream, reading.at) is not None:
        return "bad", "its process is not heard of"
    if socket["state"] != "open":
        return FEED_WORDS.get(socket["state"], ("warn", socket["state"].replace("_", " ")))
    if not reading.is_open:
        return "ok", "open, and the market is closed"
    age = reading.at - (socket["last_tick_at"] or stream["started_at"])
    if socket["desired"] and age > stale_seconds:
        return "bad", "connected, but silent"
    return "ok", "data"


def _strip(reading: Reading, socket: str) -> str:
    """The session so far, slot by slot: `0` nothing was missed, `1` missed and refilled, `2` missed, `3` not yet."""
    if reading.session is None:
        return ""
    opens = reading.session.opens_at.timestamp()
    length = (reading.session.closes_at.timestamp() - opens) / STRIP_SLOTS
    now = reading.market_time.timestamp()
    slots = ["0" if opens + slot * length < now else "3" for slot in range(STRIP_SLOTS)]
    for gap in reading.tables.gaps:
        if gap.feed not in (socket, NO_ACCOUNT):
            continue
        mark = "1" if gap.status == FeedGap.Status.REPAIRED else "2"
        ended = gap.ended_at.timestamp() if gap.ended_at else now
        first = max(0, int((gap.started_at.timestamp() - opens) // length))
        for slot in range(first, min(STRIP_SLOTS, int((ended - opens) // length) + 1)):
            slots[slot] = max(slots[slot], mark) if slots[slot] != "3" else "3"
    return "".join(slots)


def slot_rows(reading: Reading, names: Names, mine: Collection[str]) -> list[Row]:
    """The sockets that the broker allows each app, and who holds which: by whoever wrote of them last."""
    own_apps = {account.app_id for account in reading.tables.accounts if account.kite_user_id in mine}
    known = {app.label for app in reading.tables.apps if app.pk in own_apps}
    newest = sorted(reading.health.streams, key=lambda stream: stream["written_at"])
    slots = {(slot["app"], slot["slot"]): slot for stream in newest for slot in stream["slots"]}
    others = sorted({app for app, _ in slots} - known)
    rows = []
    for (app, number), slot in sorted(slots.items(), key=lambda item: (item[0][0] not in known, item[0])):
        label = app if app in known else "another app" if len(others) == 1 else f"another app ({others.index(app) + 1})"
        tone, words = _slot_said(slot)
        rows.append(
            {
                "key": f"{label} {number}",
                "name": f"{label}, {number + 1}",
                "account": names.of(slot["account"]) if slot["account"] else "",
                "owner": slot["owner"],
                "epoch": slot["epoch"],
                "seconds_left": slot["seconds_left"],
                "tone": tone,
                "words": words,
            }
        )
    return rows


def _slot_said(slot: SlotState) -> tuple[Tone, str]:
    if slot["is_lost"]:
        return "bad", "held, and no socket works"
    if slot["owner"]:
        return "ok", "held"
    return ("off", "free") if slot["account"] else ("off", "no account may use it")


def alert_rows(reading: Reading, names: Names) -> list[Row]:
    """What a person has to look at, the oldest first."""
    alerts = [alert for stream in reading.health.streams for alert in stream["alerts"]]
    return [
        {
            "key": f"{alert['kind']} {names.socket(alert['socket'] or alert['account'])}",
            "kind": alert["kind"],
            "name": names.socket(alert["socket"] or alert["account"]),
            "text": names.within(alert["text"]),
            "alert_age": max(0.0, reading.at - alert["since"]),
        }
        for alert in sorted(alerts, key=lambda alert: alert["since"])
    ]


def unconfirmed_rows(reading: Reading, names: Names) -> list[Row]:
    """Instruments that were asked for and have not answered, those that wait longest first."""
    waiting = [one for stream in reading.health.streams for one in stream["unconfirmed"]]
    return [
        {
            "key": str(one["instrument_token"]),
            "tradingsymbol": one["tradingsymbol"],
            "socket": names.socket(one["socket"]),
            "waiting_age": one["waiting_seconds"],
            "tries": one["tries"],
        }
        for one in sorted(waiting, key=lambda one: -one["waiting_seconds"])
    ]


def account_rows(reading: Reading, names: Names, mine: Collection[str]) -> list[Row]:
    """Who feeds, or might: everybody's that a process uses, and of the reader's own those that may feed."""
    facts = {account.kite_user_id: account for account in reading.tables.accounts}
    feeding = {name for stream in reading.health.streams for name in stream["accounts"]}
    own = {name for name, account in facts.items() if name in mine and account.is_data}
    return [_account(name, facts.get(name) if name in mine else None, reading, names) for name in sorted(feeding | own)]


def _account(name: str, facts: AccountFacts | None, reading: Reading, names: Names) -> Row:
    holders = [stream for stream in reading.health.streams if name in stream["accounts"]]
    sockets = [one for stream in holders for one in stream["sockets"] if account_of(one["name"]) == name]
    ages = [reading.at - one["last_tick_at"] for one in sockets if one["last_tick_at"] is not None]
    tone, words = _account_said(name, facts, holders)
    return {
        "key": names.of(name),
        "account": None if names.is_hidden(name) else name,
        "name": facts.label if facts else names.of(name),
        "monogram": facts.monogram if facts else "",
        "colour": facts.monogram_colour if facts else "",
        "held_by": ", ".join(stream["process"] for stream in holders),
        "sockets_open": sum(one["state"] == "open" for one in sockets),
        "sockets": len(sockets),
        "sockets_most": CONNECTIONS_PER_APP,
        "instruments": sum(one["subscribed"] for one in sockets),
        "capacity": CONNECTIONS_PER_APP * TOKENS_PER_CONNECTION,
        "last_tick_age": max(0.0, min(ages)) if ages else None,
        "needs_login": facts is not None and not facts.is_logged_in,
        "tone": tone,
        "words": words,
    }


def _account_said(name: str, facts: AccountFacts | None, holders: Sequence[StreamState]) -> tuple[Tone, str]:
    if facts is not None and not facts.is_logged_in:
        return "bad", "needs its login"
    if not holders:
        return "off", "not in use"
    states = [stream["accounts"][name]["status"] for stream in holders]
    worst = next((state for state in states if state != "open"), "open")
    return ("ok", "feeds") if worst == "open" else FEED_WORDS.get(worst, ("warn", worst.replace("_", " ")))


def part_rows(reading: Reading, rates: Mapping[str, Rates]) -> list[Row]:
    rows: list[Row] = []
    for stream in reading.health.streams:
        process = rates.get(stream["process"])
        for part in stream["parts"]:
            last = part["last_tick_at"]
            rows.append(
                {
                    "key": f"{stream['process']} {part['name']}",
                    "name": part["name"],
                    "process": stream["process"],
                    "rows": part["rows"],
                    "seq": part["seq"],
                    "last_tick_age": None if last is None else max(0.0, reading.at - last),
                    "updates_per_second": process.parts.get(part["name"]) if process else None,
                    "tone": "warn" if last is None and reading.is_open else "ok",
                }
            )
    return rows


def gap_row(gap: GapFacts, names: Names) -> Row:
    socket = "No account" if gap.feed == NO_ACCOUNT else names.socket(gap.feed)
    seconds = (gap.ended_at - gap.started_at).total_seconds() if gap.ended_at else None
    tone, became = _became(gap)
    reason = f": {names.within(gap.reason)}" if gap.reason and gap.status != FeedGap.Status.REPAIRED else ""
    count = gap.instruments
    return {
        "key": f"{names.socket(gap.feed)} {gap.started_at.timestamp()}",
        "title": f"{socket[:1].upper()}{socket[1:]} {GAP_WORDS.get(FeedGap.Cause(gap.cause), gap.cause)}",
        "cause": gap.cause,
        "status": gap.status,
        "tone": tone,
        "detail": f"{in_lakhs(str(count))} {plural('instrument', count)}. {became}{reason}",
        "started_at": gap.started_at.timestamp(),
        "seconds": seconds,
        "instruments": count,
        "bars_refilled": gap.bars_refilled,
    }


def _became(gap: GapFacts) -> tuple[Tone, str]:
    match gap.status:
        case FeedGap.Status.OPEN:
            return "bad", "It goes on"
        case FeedGap.Status.REPAIRED:
            return "ok", f"Minute bars refilled, {in_lakhs(str(gap.bars_refilled))} of them"
        case FeedGap.Status.GIVEN_UP:
            return "warn", f"The broker has no candles for {in_lakhs(str(gap.refused))} of them"
    of = f" of {in_lakhs(str(gap.remaining))}" if gap.remaining else ""
    return "warn", f"Minute bars{of} are still to be refilled"


def gaps_said(reading: Reading) -> Row:
    """The day's gaps in a few words."""
    gaps = reading.tables.gaps
    statuses = [gap.status for gap in gaps]
    going_on = statuses.count(FeedGap.Status.OPEN)
    unfilled = sum(status in (FeedGap.Status.CLOSED, FeedGap.Status.GIVEN_UP) for status in statuses)
    if going_on:
        tone, words = "bad", f"{going_on} going on"
    elif unfilled:
        tone, words = "warn", f"{unfilled} not refilled"
    else:
        tone, words = ("ok", "all refilled") if gaps else ("ok", "none")
    return {"tone": tone, "words": words, "total": len(gaps)}

"""The one sentence on top: do prices come, and if not, what is so and what to do. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orders.rupees import in_lakhs
from streaming.health_reading import Reading
from streaming.health_words import Tone, age_words, plural

FeedWord = Literal["live", "slow", "stale", "closed", "waiting"]
SLOW_SHARE = 0.4
"""Of the age at which a price is stale: from here on it is slow. As on the chain's page."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`feed` and `age` are the pill's: the age (s) of the last price of the socket that has been quiet for longest."""

    tone: Tone
    title: str
    detail: str
    feed: FeedWord
    age: float | None


@dataclass(frozen=True, slots=True)
class _Trouble:
    tone: Tone
    title: str
    detail: str


def verdict_of(
    reading: Reading,
    hide: Callable[[str], str],
    *,
    sockets: Sequence[dict[str, Any]],
    accounts: Sequence[dict[str, Any]],
    alerts: Sequence[dict[str, Any]],
    stale_seconds: float,
) -> Verdict:
    """
    Parameters
    ----------
    hide : takes the names out of a sentence that are not for its reader.
    sockets, accounts, alerts : the rows that the reader is shown.
    """
    ages = [row["last_tick_age"] for row in sockets if row["desired"] and row["last_tick_age"] is not None]
    quietest = max(ages, default=None)
    feed = _feed_word(reading, sockets, quietest, stale_seconds)
    found = _troubles(reading, hide, sockets, accounts, alerts, quietest)
    if not found:
        return Verdict("ok", *_all_well(reading, sockets, quietest), feed, quietest)
    worst = next((trouble for trouble in found if trouble.tone == "bad"), found[0])
    return Verdict(worst.tone, worst.title, worst.detail, feed, quietest)


def _feed_word(
    reading: Reading, sockets: Sequence[dict[str, Any]], quietest: float | None, stale_seconds: float
) -> FeedWord:
    if not reading.is_open:
        return "closed"
    if quietest is None:
        return "waiting" if not any(row["tone"] == "bad" for row in sockets) and sockets else "stale"
    if quietest >= stale_seconds or any(row["tone"] == "bad" for row in sockets):
        return "stale"
    return "slow" if quietest >= SLOW_SHARE * stale_seconds else "live"


def _troubles(
    reading: Reading,
    hide: Callable[[str], str],
    sockets: Sequence[dict[str, Any]],
    accounts: Sequence[dict[str, Any]],
    alerts: Sequence[dict[str, Any]],
    quietest: float | None,
) -> list[_Trouble]:
    """What is wrong, what explains most first."""
    health, found = reading.health, []
    streams = health.streams
    if health.redis != "ok":
        found.append(_Trouble("bad", "Redis does not answer", "No process can be heard, and no page gets prices."))
    elif not streams:
        detail = "No price comes in. Start one with manage.py run_stream."
        found.append(_Trouble("bad", "No stream process is running", detail))
    if health.database != "ok":
        detail = "Prices go on; accounts, gaps and rights cannot be looked up."
        found.append(_Trouble("warn", "PostgreSQL does not answer", detail))
    logged_out = [row for row in accounts if row["needs_login"]]
    if logged_out and not any(row["sockets_open"] for row in accounts):
        found.append(_Trouble("bad", *_login_words(logged_out)))
    if reading.is_open and quietest is not None and not any(row["tone"] == "ok" for row in sockets):
        detail = f"The last price is {age_words(quietest)} old, and the market is open."
        found.append(_Trouble("bad", "No price comes in", detail))
    bad = [row for row in sockets if row["tone"] == "bad"]
    if bad:
        found.append(_silent_sockets(bad, len(sockets)))
    if alerts and not found:
        name = alerts[0]["name"]
        found.append(_Trouble("bad", f"{name[:1].upper()}{name[1:]} needs a look", alerts[0]["text"]))
    lost = [stream for stream in streams if stream["publisher"] == "open"]
    if lost:
        found.append(
            _Trouble("bad", f"{lost[0]['process']} cannot publish", "Redis takes no batch of it: they are dropped.")
        )
    if health.feed != "ok" and streams and not found:
        told = "; ".join(hide(reason.text).replace("_", " ") for reason in health.reasons[:3])
        tone: Tone = "bad" if health.feed == "critical" else "warn"
        found.append(_Trouble(tone, "The feed is not well", f"{told[:1].upper()}{told[1:]}."))
    if logged_out and not any(trouble.title.endswith("login") for trouble in found):
        found.append(_Trouble("warn", *_login_words(logged_out)))
    overflow = sum(len(stream["overflow"]) for stream in streams)
    if overflow:
        title = f"{overflow} {plural('part', overflow)} {'is' if overflow == 1 else 'are'} not streamed"
        found.append(_Trouble("warn", title, "No account has room for them: see below."))
    if streams and not sockets and not accounts:
        found.append(_Trouble("warn", "No account feeds prices", "Add one for data in the admin, or enable one."))
    elif streams and not any(stream["active_subscriptions"] for stream in streams):
        found.append(_Trouble("off", "Nothing is followed", "Subscribe to instruments, and their prices come."))
    return found


def _silent_sockets(bad: Sequence[dict[str, Any]], total: int) -> _Trouble:
    first = bad[0]
    name = f"{first['name'][:1].upper()}{first['name'][1:]}"
    if len(bad) == 1:
        words, age = first["words"], first["last_tick_age"]
        last = "It has had no price yet." if age is None else f"Its last price is {age_words(age)} old."
        return _Trouble("bad", f"{name} brings no prices", f"{words[:1].upper()}{words[1:]}. {last}")
    title = f"{len(bad)} of {total} sockets bring no prices"
    return _Trouble("bad", title, f"{name}, for one: {first['words']}.")


def _login_words(logged_out: Sequence[dict[str, Any]]) -> tuple[str, str]:
    if len(logged_out) == 1:
        return f"{logged_out[0]['name']} needs a login", "Its sockets cannot open without the token of the day."
    return f"{len(logged_out)} accounts need a login", "Their sockets cannot open without the tokens of the day."


def _all_well(reading: Reading, sockets: Sequence[dict[str, Any]], quietest: float | None) -> tuple[str, str]:
    count, open_ = sum(row["subscribed"] for row in sockets), sum(row["state"] == "open" for row in sockets)
    through = f"{in_lakhs(str(count))} {plural('instrument', count)} on {open_} {plural('socket', open_)}."
    if not reading.is_open:
        return "The market is closed", f"{through} Silence is right until it opens."
    if quietest is None:
        return "Waiting for the first prices", through
    waiting = sum(row["waiting"] for row in sockets)
    asked = f" {in_lakhs(str(waiting))} are still to be asked for." if waiting else ""
    silent = sum(row["unconfirmed"] for row in sockets)
    if silent == 1:
        asked += " 1 was asked for and has not answered."
    elif silent:
        asked += f" {in_lakhs(str(silent))} were asked for and have not answered."
    every = "every socket" if len(sockets) > 1 else "the socket"
    return f"Prices come in on {every}", f"{through}{asked} The quietest one’s last price is {age_words(quietest)} old."

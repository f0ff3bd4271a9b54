"""What the accounts page says: is everything ready for the day, and if not, whose turn is it.

Only decisions: what was found is handed in, words and tones come out, so that it is as testable as arithmetic.
`account_views` fetches. A tone is never the only sign: each goes with words and a shape.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from accounts.breaker import BreakerState, Group, breaker_name
from accounts.budget_meters import Meter
from accounts.clock import IST
from accounts.models import BrokerSession, TradingAccount
from dashboard import formats
from streaming.health import Registry, ServiceHealth
from streaming.health_words import BREAKER_WORDS, FEED_WORDS, GROUP_WORDS, METER_WORDS, Tone, plural
from streaming.state import AccountState

NEARLY_FULL = 0.8


@dataclass(frozen=True, slots=True)
class Said:
    """A few words and how good the news is."""

    tone: Tone
    text: str


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a card: what is so, a figure at its right, and a sentence below."""

    tone: Tone
    title: str
    note: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One account as its row shows it."""

    account: TradingAccount
    login: Said
    prices: Said
    state: Said
    may_administer: bool

    @property
    def needs_login(self) -> bool:
        return self.account.state == TradingAccount.State.ENABLED and self.login.tone != "ok"

    @property
    def roles(self) -> str:
        return roles_of(self.account)

    @property
    def may_refresh(self) -> bool:
        """Whether the automated login may be asked for: only where somebody has opted in to it."""
        return self.may_administer and self.account.automated_login


@dataclass(frozen=True, slots=True)
class Verdict:
    """The one sentence on top. `row` is the account whose login would help, if the reader may log it in."""

    tone: Tone
    title: str
    detail: str
    row: Row | None = None


@dataclass(frozen=True, slots=True)
class Gauge:
    """How full one limit is; `percent` is 0 to 100, and 0 where nobody knows."""

    label: str
    text: str
    percent: int
    tone: Tone


@dataclass(frozen=True, slots=True)
class Breaker:
    """How the broker treats one group of an account's calls."""

    label: str
    said: Said


def roles_of(account: TradingAccount) -> str:
    """`trading, data`, or that it has no role."""
    roles = [name for name, has in (("trading", account.is_trading), ("data", account.is_data)) if has]
    return ", ".join(roles) or "no role"


def login_said(session: BrokerSession | None, now: datetime) -> Said:
    """How the account's login stands at `now` (market time), with the time that matters."""
    if session is None or session.status == BrokerSession.Status.NONE:
        return Said("bad", "never logged in")
    if session.status == BrokerSession.Status.ENDED or session.expires_at is None:
        return Said("bad", "logged out")
    at = formats.moment(session.expires_at, now=now)
    return Said("ok", f"until {at}") if session.is_live(now) else Said("bad", f"ended {at}")


def prices_said(account: TradingAccount, feed: AccountState | None) -> Said:
    """What the account's sockets do. `feed`: what a stream process says of it; None: no process uses it."""
    if not account.is_data:
        return Said("off", "not for prices")
    if feed is None:
        return Said("off", "not in use")
    if feed["status"] == "open":
        count = feed["subscriptions"]
        return Said("ok", f"{formats.grouped(count)} {plural('instrument', count)}")
    tone, text = FEED_WORDS.get(feed["status"], ("warn", feed["status"].replace("_", " ")))
    return Said(tone, text)


def state_said(account: TradingAccount, login: Said, breakers: Iterable[Breaker]) -> Said:
    """What the account can do now, in a word or two."""
    if account.state == TradingAccount.State.DISABLED:
        return Said("off", "Disabled")
    if login.tone != "ok":
        return Said("bad", "Needs login")
    if any(breaker.said.tone != "ok" for breaker in breakers):
        return Said("warn", "Broker fails")
    return Said("ok", "Active") if account.is_trading else Said("off", "Data only")


def row_of(
    account: TradingAccount,
    *,
    now: datetime,
    feed: AccountState | None,
    breakers: Iterable[Breaker],
    may_administer: bool,
) -> Row:
    login = login_said(getattr(account, "session", None), now)
    return Row(account, login, prices_said(account, feed), state_said(account, login, breakers), may_administer)


def breakers_of(account: TradingAccount, states: Mapping[str, BreakerState]) -> list[Breaker]:
    """The account's breakers among `states`; a disabled account has none there."""
    named = ((group, states.get(breaker_name(account.kite_user_id, group))) for group in Group)
    return [Breaker(GROUP_WORDS[group], Said(*BREAKER_WORDS[state])) for group, state in named if state is not None]


def gauge_of(meter: Meter) -> Gauge:
    """One window of a budget. The limit includes what is kept for cancels and exits."""
    label = METER_WORDS[meter.route_class, meter.window]
    if meter.used is None:
        return Gauge(label, f"{formats.DASH} of {formats.grouped(meter.limit)}", 0, "off")
    text = f"{formats.grouped(meter.used)} of {formats.grouped(meter.limit)}"
    if meter.used >= meter.limit - meter.reserve:
        tone: Tone = "bad"
    else:
        tone = "warn" if meter.used >= NEARLY_FULL * (meter.limit - meter.reserve) else "ok"
    return Gauge(label, text, min(100, round(100 * meter.used / meter.limit)), tone)


def places_gauge(under_way: int, places: int) -> Gauge:
    """Calls that wait for the broker's answer, of those that may at once; cancels have a place of their own more."""
    percent = min(100, round(100 * under_way / places))
    return Gauge("Calls under way", f"{under_way} of {places}", percent, "warn" if under_way >= places else "ok")


def service_checks(health: ServiceHealth, *, mine: Sequence[str], now: datetime, source: str) -> list[Check]:
    """What the service depends on, told about the accounts `mine` (Kite user ids) only.

    Parameters
    ----------
    now : system time, against which the age of the instruments is told.
    """
    checks = [
        Check("ok", "The database answers")
        if health.database == "ok"
        else Check("bad", "The database does not answer"),
        _redis_check(health),
        _instruments_check(health.registry, now),
        _broker_check(health, mine),
        _feed_check(health, mine, source),
    ]
    return sorted(checks, key=lambda check: check.tone == "ok")  # what needs a look comes first


def _redis_check(health: ServiceHealth) -> Check:
    if health.redis == "ok":
        return Check("ok", "Redis answers", detail="All processes share prices, limits and breakers")
    return Check("warn", "Redis does not answer", detail="No live prices; each process keeps the limits by itself")


def _instruments_check(registry: Registry, now: datetime) -> Check:
    if registry["status"] != "ok" or registry["imported_at"] is None:
        return Check("warn", "No instruments are listed", detail="They are imported once an account is logged in")
    at = registry["imported_at"].astimezone(IST)
    day = "today" if at.date() == now.astimezone(IST).date() else formats.short_date(at.date(), today=now.date())
    age = f"{formats.duration((now - at).total_seconds())} ago"
    detail = f"{formats.grouped(registry['instruments'])} contracts, "
    detail += f"{formats.grouped(registry['added'])} new, {formats.grouped(registry['retired'])} gone"
    return Check("ok", f"Instruments are of {day}", age, detail)


def _broker_check(health: ServiceHealth, mine: Sequence[str]) -> Check:
    failing = [
        f"{account} {GROUP_WORDS[group]}"
        for account in mine
        for group in Group
        if health.breakers.get(breaker_name(account, group), BreakerState.CLOSED) is not BreakerState.CLOSED
    ]
    if not failing:
        return Check("ok", "The broker is not failing", detail="No call is held back")
    return Check("warn", "The broker fails", detail=f"Held back for a while: {', '.join(failing)}")


def _feed_check(health: ServiceHealth, mine: Sequence[str], source: str) -> Check:
    followed = sum(stream["active_subscriptions"] for stream in health.streams)
    told = [reason.text for reason in health.reasons if not reason.account or reason.account in mine]
    if health.feed == "ok":
        return Check("ok", "The stream runs", source, f"{formats.grouped(followed)} instruments are followed")
    tone: Tone = "bad" if health.feed == "critical" else "warn"
    sentence = "; ".join(told) or "another account has no prices"
    return Check(tone, "Prices do not come in", source, sentence[:1].upper() + sentence[1:].replace("_", " "))


def verdict(rows: Sequence[Row], checks: Iterable[Check]) -> Verdict:
    """Ready, or what to do about it: logins first, for nothing else works without them."""
    enabled = [row for row in rows if row.account.state == TradingAccount.State.ENABLED]
    if not enabled:
        return Verdict("warn", "Not ready: every account is disabled", "Enable one in the admin.")
    missing = [row for row in enabled if row.needs_login]
    ready = f"{len(enabled) - len(missing)} of {len(enabled)} {plural('account', len(enabled))} logged in."
    if missing:
        mine = next((row for row in missing if row.may_administer), None)
        who = f"{missing[0].account.label} needs a login"
        if len(missing) > 1:
            who = f"{len(missing)} accounts need a login"
        help_ = "" if mine else f" Ask {missing[0].account.owner.get_username()}, who owns it, to log it in."
        return Verdict("warn", f"Not ready: {who}", ready + help_, mine)
    trouble = next((check for check in checks if check.tone != "ok"), None)
    if trouble:
        return Verdict("warn", f"Logged in, but: {trouble.title}", trouble.detail and f"{trouble.detail}.")
    if len(enabled) == 1:
        return Verdict("ok", f"Ready: {enabled[0].account.label} is logged in", "All checks are passed.")
    return Verdict("ok", f"Ready: all {len(enabled)} accounts are logged in", "All checks are passed.")

"""The accounts page and the page of one account: fetch, hand over to `board` and `day`, render."""

from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts import clock
from accounts.actions import Action
from accounts.authorisation import accounts_for, authorise
from accounts.broker.places import calls_under_way
from accounts.budget_meters import data_meters, order_meters
from accounts.credentials import has_secret
from accounts.exceptions import NotFound
from accounts.models import ApiKey, BrokerCredential, BrokerSession, Grant, KiteApp, TradingAccount
from accounts.permissions import page_view
from accounts.principals import principal_of
from accounts.sessions import token_end
from dashboard import board
from dashboard.day import Day, day_of
from dashboard.shell import links
from dashboard.views import DEFAULT_EXCHANGE, session_of
from market import calendar
from market.exceptions import CalendarMissing
from streaming.health import ServiceHealth, service_health

SOURCE_WORDS = {"simulated": "simulated", "live": "live", "replay": "a recording"}


@require_safe
@never_cache
@login_required  # not `page_view`: who may read no account is told so by this page
def accounts(request: HttpRequest) -> HttpResponse:
    """The morning board: every account the person may read, the service, the day, and what room is left.

    Asked by htmx, it is the board alone, which takes the place of the one that is shown.
    """
    principal = principal_of(request)
    readable = list(accounts_for(principal, Action.READ).select_related("owner", "app", "session"))
    context = frame("accounts")
    if not readable:
        status = HTTPStatus.OK if request.user.is_superuser else HTTPStatus.FORBIDDEN
        return render(request, "dashboard/no_accounts.html", context, status=status)
    administered = set(accounts_for(principal, Action.ADMIN).values_list("pk", flat=True))
    health = service_health()
    rows = [row_of(account, health, may_administer=account.pk in administered) for account in readable]
    mine = [account.kite_user_id for account in readable]
    checks = board.service_checks(
        health, mine=mine, now=timezone.now(), source=SOURCE_WORDS.get(settings.FEED_SOURCE, settings.FEED_SOURCE)
    )
    context |= {
        "rows": rows,
        "checks": checks,
        "to_look_at": sum(check.tone != "ok" for check in checks),
        "verdict": board.verdict(rows, checks),
        "day": today(),
        "rooms": [(account, orders_room(account)) for account in readable],
        "apps": [(app, data_room(app)) for app in {account.app_id: account.app for account in readable}.values()],
        "checked_at": clock.now(),
    }
    asked_by_htmx = request.headers.get("HX-Request") == "true"
    return render(request, "dashboard/_board.html" if asked_by_htmx else "dashboard/accounts.html", context)


@require_safe
@never_cache
@page_view(Action.READ)
def account(request: HttpRequest, kite_user_id: str) -> HttpResponse:
    """One account: its login and how much room is left; for who administers it, its secrets' ages and its users too."""
    principal = principal_of(request)
    found = TradingAccount.objects.select_related("owner", "app", "session").filter(kite_user_id=kite_user_id).first()
    if found is None:
        raise NotFound
    authorise(principal, Action.READ, found)
    may_administer = accounts_for(principal, Action.ADMIN).filter(pk=found.pk).exists()
    health = service_health()
    # Who else may use an account is the business of those who administer it; others see what is their own.
    grants = Grant.objects.filter(account=found).select_related("user", "api_key").order_by("created_at")
    keys = ApiKey.objects.filter(accounts=found).select_related("owner")
    if not may_administer:
        grants, keys = grants.filter(user=request.user.pk), keys.filter(owner=request.user.pk)
    now = timezone.now()
    context = frame("accounts") | {
        "row": row_of(found, health, may_administer=may_administer),
        "session_row": BrokerSession.objects.filter(account=found).first(),
        "credentials": credentials_of(found) if may_administer else [],
        "missing": missing_secrets(found) if may_administer else [],
        "grants": grants,
        "keys": [(key, key.is_usable_at(now)) for key in keys],
        "breakers": board.breakers_of(found, health.breakers),
        "orders": orders_room(found),
        "data": data_room(found.app),
        "checked_at": clock.now(),
    }
    return render(request, "dashboard/account.html", context)


def frame(active: str) -> dict[str, Any]:
    """What `base.html` needs on a page without prices."""
    return {
        "active": active,
        "session": session_of(DEFAULT_EXCHANGE),
        "exchange": DEFAULT_EXCHANGE,
        "source": settings.FEED_SOURCE,
        **links(),
    }


def row_of(account: TradingAccount, health: ServiceHealth, *, may_administer: bool) -> board.Row:
    return board.row_of(
        account,
        now=clock.now(),
        feed=health.feeds.get(account.kite_user_id),
        breakers=board.breakers_of(account, health.breakers),
        may_administer=may_administer,
    )


def orders_room(account: TradingAccount) -> list[board.Gauge]:
    """What an account that sends orders has left of its limits; of one that does not, its calls."""
    under_way = board.places_gauge(calls_under_way(account.kite_user_id), settings.KITE_PLACES)
    return [*map(board.gauge_of, order_meters(account)), under_way] if account.is_trading else [under_way]


def data_room(app: KiteApp) -> list[board.Gauge]:
    return [board.gauge_of(meter) for meter in data_meters(app)]


def credentials_of(account: TradingAccount) -> list[BrokerCredential]:
    """The secrets that exist for the account and its app, without what they hold."""
    return [
        *BrokerCredential.objects.of(account.app).defer("ciphertext").order_by("kind"),
        *BrokerCredential.objects.of(account).defer("ciphertext").order_by("kind"),
    ]


def missing_secrets(account: TradingAccount) -> list[tuple[str, str]]:
    """What a login needs and nobody has stored yet: the secret's name, and who needs it."""
    kind = BrokerCredential.Kind
    missing = [] if has_secret(account.app, kind.API_SECRET) else [(kind.API_SECRET.label, "Every login")]
    if account.automated_login:
        needed = [one for one in (kind.PASSWORD, kind.TOTP_SEED) if not has_secret(account, one)]
        missing += [(one.label, "The automated login") for one in needed]
    return [(str(name), whose) for name, whose in missing]


def today() -> Day:
    """The day of the market that the pages follow."""
    now, exchange = clock.now(), DEFAULT_EXCHANGE
    segment = calendar.SEGMENTS[exchange]
    session, coming, problem = None, None, ""
    try:
        session = calendar.session_of(exchange, segment, clock.today())
        coming = calendar.current().next_session(exchange, segment, now)
    except CalendarMissing as exc:
        problem = str(exc)
    return day_of(now=now, today=session, coming=coming, problem=problem, logins_end=token_end(now))

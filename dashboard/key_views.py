"""The page on which people make, replace and revoke their own API keys. A key's text is on one answer, once."""

from http import HTTPStatus

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.api_keys import revoke_api_key
from accounts.exceptions import NotFound, Refused
from accounts.models import ApiKey, ApiKeyQuerySet
from accounts.own_keys import others_keys, own_key, own_keys, replace_own_key, revocable_key
from dashboard.account_views import frame
from dashboard.key_forms import LONGEST_DAYS, NewKeyForm


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@login_required
def keys(request: HttpRequest) -> HttpResponse:
    """One's own keys and the form for another; a POST makes it, and its answer is the only place that shows it."""
    user = _user(request)
    if request.method != "POST":
        return _page(request, NewKeyForm(user))
    form = NewKeyForm(user, request.POST)
    made = form.make()
    if made is None:
        return _page(request, form, status=HTTPStatus.BAD_REQUEST)
    return _shown_once(request, *made)


@require_POST
@never_cache
@login_required
def replace(request: HttpRequest, key_id: str) -> HttpResponse:
    """A second key with the same rights; the first one works one more day."""
    user = _user(request)
    try:
        old = own_key(user, key_id)
        made = replace_own_key(old)
    except NotFound as exc:
        raise Http404(str(exc)) from exc
    except Refused as exc:
        message = str(exc)
        return _page(request, NewKeyForm(user), problem=message[:1].upper() + message[1:], status=HTTPStatus.CONFLICT)
    old.refresh_from_db(fields=["expires_at"])
    return _shown_once(request, *made, old=old)


@require_POST
@never_cache
@login_required
def revoke(request: HttpRequest, key_id: str) -> HttpResponse:
    """End a key at once; again changes nothing."""
    try:
        revoke_api_key(revocable_key(_user(request), key_id))
    except NotFound as exc:
        raise Http404(str(exc)) from exc
    return redirect("dashboard:keys")


def _page(request: HttpRequest, form: NewKeyForm, *, problem: str = "", status: int = HTTPStatus.OK) -> HttpResponse:
    user = _user(request)
    working, ended = _split(own_keys(user))
    others_working, _ = _split(others_keys(user))
    context = frame("keys") | {
        "form": form,
        "problem": problem,
        "working": working,
        "ended": ended,
        "others": others_working,
        "choices": form.fields["accounts"].queryset,  # type: ignore[attr-defined]
        "chosen": form.data.getlist("accounts") if form.is_bound else [],  # type: ignore[attr-defined]
        "ticked": form.data.getlist("scopes") if form.is_bound else ["read", "stream"],  # type: ignore[attr-defined]
        "longest_days": LONGEST_DAYS,
    }
    return render(request, "dashboard/keys.html", context, status=status)


def _shown_once(request: HttpRequest, key: ApiKey, text: str, old: ApiKey | None = None) -> HttpResponse:
    address = request.build_absolute_uri(reverse("accounts:me"))
    context = frame("keys") | {"key": key, "text": text, "old": old, "address": address}
    return render(request, "dashboard/key_made.html", context)


def _split(keys: ApiKeyQuerySet) -> tuple[list[ApiKey], list[ApiKey]]:
    """Those that work, and those that have ended."""
    now = timezone.now()
    found = list(keys)
    return [key for key in found if key.is_usable_at(now)], [key for key in found if not key.is_usable_at(now)]


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # noqa: S101  (`login_required` has seen to it)
    return request.user

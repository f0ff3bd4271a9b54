"""The admin's buttons on one row or one page. What changes something asks first, and goes by POST: a link on another
site's page cannot press it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from unfold.decorators import action
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm

from accounts.actions import Action
from accounts.api_keys import replace_api_key, revoke_api_key
from accounts.authorisation import account_for
from accounts.exceptions import (
    BrokerError,
    CredentialError,
    Denied,
    LoginFailed,
    LoginUnderWay,
    NotFound,
    Refused,
    SessionMismatch,
)
from accounts.models import ApiKey, TradingAccount
from accounts.principals import principal_of
from accounts.token_refresh import log_in_now

if TYPE_CHECKING:  # a mixin: the admin classes bring what it uses
    from django.contrib.admin import ModelAdmin

    AccountAdmin = ModelAdmin[TradingAccount]
    KeyAdmin = ModelAdmin[ApiKey]
else:
    AccountAdmin = KeyAdmin = object

Button = TypeVar("Button", bound=Callable[..., HttpResponse])


def button(
    words: str,
    *,
    icon: str,
    asks: str = "",
    form: type[BaseDialogForm] = BaseDialogForm,
    variant: ActionVariant = ActionVariant.DEFAULT,
    permission: str = "change",
) -> Callable[[Button], Button]:
    """A button of Unfold's, which has no types itself. With `asks`, a dialog says that first; its POST carries on.

    `permission` is asked of the admin class, by its `has_…_permission`.
    """
    dialog = None
    if asks:
        dialog = {"title": words, "description": asks, "form_class": form, "form_submit_text": words}
    made = action(description=words, icon=icon, permissions=[permission], variant=variant, dialog=dialog)
    return cast(Callable[[Button], Button], made)


class AccountButtons(AccountAdmin):
    """Log in, refresh, disable and enable, on each row and on top of an account's page."""

    actions_row = ("press_log_in", "press_refresh", "press_disable", "press_enable")
    actions_detail = actions_row

    @button("Log in to Kite", icon="login", variant=ActionVariant.PRIMARY)
    def press_log_in(self, request: HttpRequest, object_id: str) -> HttpResponse:
        account = self._account(request, object_id)
        return HttpResponseRedirect(reverse("accounts:kite-login", args=[account.public_id]))

    @button(
        "Refresh now",
        icon="refresh",
        asks="The automated login types the stored password and TOTP into the broker's form. A live token is replaced.",
    )
    def press_refresh(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        account = self._account(request, object_id)
        if not account.automated_login:
            messages.error(request, f"{account} has not opted in to the automated login.")
            return done(request)
        try:
            account_for(principal_of(request), Action.ADMIN, account.public_id)
            log_in_now(account)
        except (Denied, NotFound) as exc:
            raise PermissionDenied(str(exc)) from exc
        except LoginUnderWay as exc:
            messages.warning(request, str(exc))
        except (BrokerError, CredentialError, LoginFailed, SessionMismatch) as exc:
            messages.error(request, f"{account} is not logged in: {exc}")
        else:
            messages.success(request, f"{account} is logged in.")
        return done(request)

    @button("Disable", icon="block", asks="The account is used for nothing until it is enabled again.")
    def press_disable(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        return self._press("disable", request, object_id)

    @button("Enable", icon="check_circle", asks="The account may be used again, within its roles.")
    def press_enable(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        return self._press("enable", request, object_id)

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """Only the buttons that would change something here."""
        account = self.get_object(request, object_id)
        useless = set()
        if account is not None:
            is_enabled = account.state == TradingAccount.State.ENABLED
            useless = {"press_enable" if is_enabled else "press_disable"}
            if not account.automated_login:
                useless.add("press_refresh")
        found: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]
        return [one for one in found if not one.action_name.endswith(tuple(useless))] if useless else found

    def _press(self, name: str, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the list does to many accounts, done to one."""
        account = self._account(request, object_id)
        getattr(self, name)(request, TradingAccount.objects.filter(pk=account.pk))
        messages.success(request, f"{account} is {name}d.")
        return done(request)

    def _account(self, request: HttpRequest, object_id: str) -> TradingAccount:
        account = self.get_object(request, object_id)
        if account is None:
            raise Http404
        return account


class KeyButtons(KeyAdmin):
    """Replace and revoke, on each row and on top of a key's page."""

    actions_row = ("press_replace", "press_revoke")
    actions_detail = actions_row

    @button(
        "Replace",
        icon="autorenew",
        asks="A new key with the same rights is made and shown once. This one works one more day.",
    )
    def press_replace(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        try:
            made, text = replace_api_key(self._key(request, object_id))
        except Refused as exc:
            messages.error(request, f"Not done: {exc}.")
        else:
            messages.warning(request, f"{made} is {text}. Copy it now: it is not shown again.")
        return done(request)

    @button("Revoke", icon="block", asks="Programs that use it are refused at once, for good.")
    def press_revoke(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        key = self._key(request, object_id)
        words = "is revoked" if revoke_api_key(key) else "was revoked before"
        messages.success(request, f"{key} {words}.")
        return done(request)

    def _key(self, request: HttpRequest, object_id: str) -> ApiKey:
        key = self.get_object(request, object_id)
        if key is None:
            raise Http404
        return key


def done(request: HttpRequest) -> HttpResponse:
    """Back to the page that the button was on: by a header for the dialog's htmx, by a redirect for a plain form."""
    came_from = request.headers.get("HX-Current-URL") or request.headers.get("Referer") or reverse("admin:index")
    if request.headers.get("HX-Request") == "true":
        return HttpResponse(headers={"HX-Redirect": _own_path(request, came_from)})
    return HttpResponseRedirect(_own_path(request, came_from))


def _own_path(request: HttpRequest, address: str) -> str:
    # What a browser says of where it is, is never followed to another host; nor back to the dialog's own address.
    path = urlsplit(address).path
    is_ours = url_has_allowed_host_and_scheme(address, {request.get_host()}, require_https=request.is_secure())
    return path if is_ours and path.startswith("/") and path != request.path else reverse("admin:index")

"""Accounts in the admin. Secrets can be written here, and are shown nowhere: not even that one is long or short."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminPasswordWidget

from accounts import clock
from accounts.account_states import record_state, set_state
from accounts.actions import Action
from accounts.admin_buttons import AccountButtons, KeyButtons
from accounts.api_keys import create_api_key, replace_api_key, revoke_api_key
from accounts.audit_admin import AuditEventAdmin as AuditEventAdmin  # the admin looks for it here
from accounts.automated_login import WARNING, forget_login_secrets, record_choice
from accounts.breaker import breaker_names, states
from accounts.budget_meters import data_meters, order_meters
from accounts.credentials import Kind, has_secret, store_secret
from accounts.exceptions import Refused
from accounts.models import (
    ApiKey,
    BrokerCredential,
    BrokerSession,
    ExternalIdentity,
    Grant,
    KiteApp,
    LoginLink,
    TradingAccount,
)
from accounts.read_only_admin import UneditableAdmin

if TYPE_CHECKING:  # generic for the type checker only
    AnyModelForm = forms.ModelForm[Any]
else:
    AnyModelForm = forms.ModelForm

# Unfold's own small button, as its template has it.
BUTTON_CLASSES = (
    "font-medium inline-flex items-center rounded-default whitespace-nowrap cursor-pointer px-2.5 py-1.5 border "
    "border-base-200 bg-white shadow-xs text-important dark:border-base-700 dark:bg-transparent"
)
TOKEN_COLOURS = {"logged in": "success", "expired": "warning", "logged out": "danger", "never logged in": "danger"}


Method = TypeVar("Method", bound=Callable[..., Any])


def badge(description: str, colours: dict[str, str]) -> Callable[[Method], Method]:
    """A column whose words are shown as badges, by word in the colours of Unfold, which has no types itself."""
    return cast(Callable[[Method], Method], display(description=description, label=colours))


class SecretsForm(AnyModelForm):
    """A form with write-only fields for the holder's secrets; an empty one leaves what is stored as it is."""

    secret_kinds: dict[str, Kind]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, kind in self.secret_kinds.items():
            stored = self.instance.pk is not None and has_secret(self.instance, kind)
            self.fields[name].help_text = "Stored; leave empty to keep it." if stored else "Not stored."

    def store_secrets(self) -> None:
        for name, kind in self.secret_kinds.items():
            if secret := self.cleaned_data.get(name):
                store_secret(self.instance, kind, secret)


def _secret_field(label: str) -> forms.CharField:
    return forms.CharField(
        label=label, required=False, max_length=500, widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"})
    )


class KiteAppForm(SecretsForm):
    api_secret = _secret_field("API secret")
    secret_kinds = {"api_secret": Kind.API_SECRET}

    class Meta:
        model = KiteApp
        fields = ["label", "api_key", "redirect_url", "postback_url"]


class TradingAccountForm(SecretsForm):
    password = _secret_field("Kite password")
    totp_seed = _secret_field("TOTP seed")
    secret_kinds = {"password": Kind.PASSWORD, "totp_seed": Kind.TOTP_SEED}

    class Meta:
        model = TradingAccount
        fields = [
            "label",
            "kite_user_id",
            "app",
            "owner",
            "is_data",
            "data_failover",
            "may_resend",
            "is_trading",
            "priority",
            "state",
            "monogram_colour",
            "automated_login",
        ]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not cleaned.get("automated_login") and (cleaned.get("password") or cleaned.get("totp_seed")):
            self.add_error("automated_login", "Password and TOTP seed are stored only with this ticked.")
        return cleaned

    def store_secrets(self) -> None:
        super().store_secrets()
        if not self.instance.automated_login:
            forget_login_secrets(self.instance)


class HoldsSecrets(ModelAdmin):  # type: ignore[misc]
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        form.store_secrets()


@admin.register(KiteApp)
class KiteAppAdmin(HoldsSecrets):
    form = KiteAppForm
    list_display = ["label", "shown_api_key", "accounts_of"]
    readonly_fields = ["hook_address"]
    search_fields = ["label"]

    @admin.display(description="address for postbacks")
    def hook_address(self, app: KiteApp) -> str:
        """What to register in the broker's developer console."""
        return f"{settings.WEB_ADDRESS}{app.hook_path}" if app.pk else "shown once the app is saved"

    @admin.display(description="API key")
    def shown_api_key(self, app: KiteApp) -> str:
        return f"…{app.api_key[-4:]}"

    @admin.display(description="accounts")
    def accounts_of(self, app: KiteApp) -> str:
        return ", ".join(app.accounts.values_list("kite_user_id", flat=True)) or "–"


@admin.register(TradingAccount)
class TradingAccountAdmin(AccountButtons, HoldsSecrets):
    form = TradingAccountForm
    list_display = [
        "label",
        "kite_user_id",
        "owner",
        "token_state",
        "state_badge",
        "roles",
        "priority",
        "log_in",
    ]
    list_filter = ["state", "is_data", "is_trading", "app"]
    list_select_related = ["owner", "session"]
    search_fields = ["label", "kite_user_id"]
    readonly_fields = ["public_id", "log_in", "shown_breakers", "shown_budgets"]
    actions = ["disable", "enable"]
    fieldsets = [
        (None, {"fields": [*TradingAccountForm.Meta.fields[:-1], "public_id", "log_in"]}),
        ("Limits at the broker", {"fields": ["shown_breakers", "shown_budgets"]}),
        (
            "Automated login (optional)",
            {
                "fields": ["automated_login", "password", "totp_seed"],
                "description": WARNING,
            },
        ),
    ]

    def save_model(self, request: HttpRequest, obj: TradingAccount, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and "state" in form.changed_data:
            record_state(obj, TradingAccount.State(obj.state))
        if "automated_login" in form.changed_data:
            record_choice(obj)

    @badge("token", TOKEN_COLOURS)
    def token_state(self, account: TradingAccount) -> str:
        session = getattr(account, "session", None)
        if session is None:
            return str(BrokerSession.Status.NONE.label)
        if session.has_run_out(clock.now()):
            return "expired"
        return str(session.get_status_display())

    @badge("state", {"enabled": "success", "disabled": "danger"})
    def state_badge(self, account: TradingAccount) -> str:
        return account.state

    @admin.display(description="Kite login")
    def log_in(self, account: TradingAccount) -> str:
        if account._state.adding:
            return "–"
        address = reverse("accounts:kite-login", args=[account.public_id])
        return format_html('<a class="{}" href="{}">Log in</a>', BUTTON_CLASSES, address)

    @badge("roles", dict.fromkeys(["trading", "data", "trading, data"], "info"))
    def roles(self, account: TradingAccount) -> str:
        return ", ".join(name for name, has in (("trading", account.is_trading), ("data", account.is_data)) if has)

    @admin.display(description="breakers")
    def shown_breakers(self, account: TradingAccount) -> str:
        if account._state.adding:
            return "–"
        found = states(breaker_names(account.kite_user_id))
        return format_html_join(
            mark_safe("<br>"), "{}: {}", ((name, state.replace("_", " ")) for name, state in found.items())
        )

    @admin.display(description="used of the budgets")
    def shown_budgets(self, account: TradingAccount) -> str:
        if account._state.adding:
            return "–"
        meters = [*order_meters(account), *data_meters(account.app)]
        rows = (
            (meter.route_class, meter.window, "unknown" if meter.used is None else meter.used, meter.limit)
            for meter in meters
        )
        return format_html_join(mark_safe("<br>"), "{} a {}: {} of {}", rows)

    @admin.action(description="Disable")
    def disable(self, request: HttpRequest, accounts: QuerySet[TradingAccount]) -> None:
        for account in accounts:
            set_state(account, TradingAccount.State.DISABLED)

    @admin.action(description="Enable")
    def enable(self, request: HttpRequest, accounts: QuerySet[TradingAccount]) -> None:
        for account in accounts:
            set_state(account, TradingAccount.State.ENABLED)


@admin.register(BrokerCredential)
class BrokerCredentialAdmin(UneditableAdmin):
    """Which secrets there are, of what age and under which key; never what they are."""

    list_display = ["holder", "kind", "key_id", "version", "updated_at"]
    list_filter = ["kind", "key_id"]
    list_select_related = ["account", "app"]
    fields = ["account", "app", "kind", "key_id", "version", "updated_at"]


@admin.register(BrokerSession)
class BrokerSessionAdmin(UneditableAdmin):
    list_display = ["account", "status_badge", "token_version", "logged_in_at", "expires_at"]
    list_select_related = ["account"]

    @badge("status", {"active": "success", "ended": "danger", "none": "warning"})
    def status_badge(self, session: BrokerSession) -> tuple[str, str]:
        return session.status, session.get_status_display()


class ApiKeyForm(AnyModelForm):
    scopes = forms.MultipleChoiceField(choices=Action.choices, widget=forms.CheckboxSelectMultiple)

    class Meta:
        model = ApiKey
        fields = ["label", "owner", "scopes", "accounts", "networks", "expires_at"]

    def clean_expires_at(self) -> datetime:
        expires_at: datetime = self.cleaned_data["expires_at"]
        if not timezone.now() < expires_at <= timezone.now() + ApiKey.LONGEST_LIFE:
            raise forms.ValidationError(f"A key ends within the next {ApiKey.LONGEST_LIFE.days} days.")
        return expires_at


@admin.register(ApiKey)
class ApiKeyAdmin(KeyButtons, ModelAdmin):  # type: ignore[misc]
    form = ApiKeyForm
    list_display = ["label", "key_id", "owner", "state_badge", "shown_scopes", "expires_at", "last_used_at"]
    list_filter = ["owner"]
    list_select_related = ["owner"]
    readonly_fields = ["key_id", "created_at", "last_used_at", "revoked_at"]
    filter_horizontal = ["accounts"]
    actions = ["replace", "revoke"]

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        made, text = create_api_key(
            owner=obj.owner,
            label=obj.label,
            scopes=[Action(scope) for scope in obj.scopes],
            accounts=[],  # the form's own list follows with the related fields
            networks=obj.networks,
            valid_for=obj.expires_at - timezone.now(),
        )
        obj.pk = made.pk
        obj.refresh_from_db()
        messages.warning(request, f"The key is {text}. Copy it now: it is not shown again.")

    @badge("state", {"usable": "success", "expired": "warning", "revoked": "danger"})
    def state_badge(self, key: ApiKey) -> str:
        if key.revoked_at is not None:
            return "revoked"
        return "usable" if key.expires_at > timezone.now() else "expired"

    @admin.display(description="scopes")
    def shown_scopes(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @admin.action(description="Replace (the old key works for one more day)")
    def replace(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        for key in keys:
            try:
                made, text = replace_api_key(key)
            except Refused as exc:
                messages.error(request, f"{key}: {exc}.")
            else:
                messages.warning(request, f"{made} is {text}. Copy it now: it is not shown again.")

    @admin.action(description="Revoke")
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        for key in keys:
            revoke_api_key(key)


@admin.register(Grant)
class GrantAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ["principal", "action", "account", "created_at"]
    list_filter = ["action", "account"]
    list_select_related = ["user", "api_key", "account"]

    @admin.display(description="principal")
    def principal(self, grant: Grant) -> str:
        return str(grant.user or grant.api_key)


@admin.register(ExternalIdentity)
class ExternalIdentityAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ["subject", "user", "issuer", "created_at"]
    list_select_related = ["user"]
    search_fields = ["subject", "user__username"]


@admin.register(LoginLink)
class LoginLinkAdmin(UneditableAdmin):
    list_display = ["user", "created_at", "expires_at", "used_at"]
    list_select_related = ["user"]
    fields = ["user", "created_at", "expires_at", "used_at"]


# Django's own admin of people, in the look of the others.
admin.site.unregister(User)
admin.site.unregister(Group)


class GrantInline(TabularInline):  # type: ignore[misc]
    model = Grant
    fields = ["account", "action"]
    extra = 0


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[misc, type-arg]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    inlines = [GrantInline]


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):  # type: ignore[misc]
    pass

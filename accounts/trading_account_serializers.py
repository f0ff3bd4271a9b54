"""Trading accounts as the REST interface shows and takes them. Secrets go in and never come out."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts import clock
from accounts.automated_login import WARNING
from accounts.credentials import Kind, has_secret
from accounts.models import BrokerSession, KiteApp, TradingAccount, web_address
from accounts.serializers import StrictSerializer

RESEND_WARNING = str(TradingAccount._meta.get_field("may_resend").help_text)
SESSION_STATES = ["none", "active", "expired", "ended"]


class SessionSerializer(serializers.Serializer[Any]):
    state = serializers.ChoiceField(choices=SESSION_STATES)
    logged_in_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    token_version = serializers.IntegerField(help_text="Grows with each login and logout.")
    login_failure = serializers.CharField(help_text="Why the automated login failed; empty if it did not.")


class AppSerializer(serializers.Serializer[Any]):
    # the stubs take `label` for the field's own attribute of that name
    label = serializers.CharField()  # type: ignore[assignment]
    api_key_ends_with = serializers.CharField()
    redirect_url = serializers.CharField()
    postback_url = serializers.CharField()
    has_secret = serializers.BooleanField()


class TradingAccountSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField(source="public_id")
    kite_user_id = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    owner = serializers.CharField(source="owner.username")
    is_data = serializers.BooleanField(help_text="May feed market data.")
    data_failover = serializers.BooleanField(
        help_text="May answer data calls in place of another account of the same owner. Never orders."
    )
    is_trading = serializers.BooleanField(help_text="May send orders.")
    may_resend = serializers.BooleanField(help_text=RESEND_WARNING)
    priority = serializers.IntegerField(help_text="Lower is used first.")
    state = serializers.ChoiceField(choices=TradingAccount.State.choices)
    monogram = serializers.CharField()
    monogram_colour = serializers.ChoiceField(choices=TradingAccount.Colour.choices)
    automated_login = serializers.BooleanField()
    app = serializers.SerializerMethodField()
    session = serializers.SerializerMethodField()
    login_path = serializers.SerializerMethodField(help_text="The page from which a person logs in at the broker.")

    @extend_schema_field(AppSerializer)
    def get_app(self, account: TradingAccount) -> Any:
        return AppSerializer(described_app(account.app)).data

    @extend_schema_field(SessionSerializer)
    def get_session(self, account: TradingAccount) -> Any:
        return SessionSerializer(described_session(account)).data

    def get_login_path(self, account: TradingAccount) -> str:
        return f"/accounts/kite/login/{account.public_id}/"


class NewAppSerializer(StrictSerializer):
    api_key = serializers.RegexField(r"\A[A-Za-z0-9]{4,64}\Z")
    api_secret = serializers.CharField(max_length=200, required=False, help_text="Not needed for an app known here.")
    label = serializers.CharField(max_length=100, required=False)  # type: ignore[assignment]
    redirect_url = serializers.CharField(max_length=200, required=False, validators=[web_address])
    postback_url = serializers.CharField(max_length=200, required=False, validators=[web_address])


class NewTradingAccountSerializer(StrictSerializer):
    kite_user_id = serializers.RegexField(r"\A[A-Z0-9]{4,12}\Z")
    label = serializers.CharField(max_length=100)  # type: ignore[assignment]
    app = NewAppSerializer()
    owner = serializers.CharField(max_length=150, required=False, help_text="A user name; you, if not given.")
    is_data = serializers.BooleanField(default=True)
    data_failover = serializers.BooleanField(default=False)
    is_trading = serializers.BooleanField(default=False)
    priority = serializers.IntegerField(min_value=0, max_value=32767, default=100)


class TradingAccountChangesSerializer(StrictSerializer):
    label = serializers.CharField(max_length=100, required=False)  # type: ignore[assignment]
    is_data = serializers.BooleanField(required=False)
    data_failover = serializers.BooleanField(required=False)
    is_trading = serializers.BooleanField(required=False)
    may_resend = serializers.BooleanField(required=False, help_text=RESEND_WARNING)
    priority = serializers.IntegerField(min_value=0, max_value=32767, required=False)
    state = serializers.ChoiceField(choices=TradingAccount.State.choices, required=False)
    monogram_colour = serializers.ChoiceField(choices=TradingAccount.Colour.choices, required=False)


class LoginSerializer(StrictSerializer):
    """Exactly one of the three ways."""

    request_token = serializers.CharField(max_length=100, required=False, help_text="From the broker's login page.")
    access_token = serializers.CharField(max_length=200, required=False, help_text="Made elsewhere.")
    automatic = serializers.BooleanField(required=False, help_text="True: with the stored password and TOTP seed.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if sum(bool(value) for value in attrs.values()) != 1:
            raise serializers.ValidationError("Give one of request_token, access_token and automatic: true.")
        return attrs


class AutomatedLoginSerializer(StrictSerializer):
    password = serializers.CharField(max_length=200, trim_whitespace=False)
    totp_seed = serializers.RegexField(r"\A[A-Za-z2-7 ]{16,128}=*\Z", help_text="The text under the QR code.")
    accept_warning = serializers.BooleanField(help_text=WARNING)

    def validate_accept_warning(self, value: bool) -> bool:
        if not value:
            raise serializers.ValidationError(f"It has to be accepted. {WARNING}")
        return value


class AppSecretSerializer(StrictSerializer):
    api_secret = serializers.CharField(max_length=200)


class TradingAccountFilterSerializer(StrictSerializer):
    state = serializers.ChoiceField(choices=TradingAccount.State.choices, required=False)
    limit = serializers.CharField(required=False)
    offset = serializers.CharField(required=False)


def described_app(app: KiteApp) -> dict[str, Any]:
    return {
        "label": app.label,
        "api_key_ends_with": app.api_key[-4:],
        "redirect_url": app.redirect_url,
        "postback_url": app.postback_url,
        "has_secret": has_secret(app, Kind.API_SECRET),
    }


def described_session(account: TradingAccount) -> dict[str, Any]:
    """The account's login as it stands now."""
    session: BrokerSession | None = getattr(account, "session", None)
    if session is None:
        return {"state": "none", "logged_in_at": None, "expires_at": None, "token_version": 0, "login_failure": ""}
    return {
        "state": "expired" if session.has_run_out(clock.now()) else session.status,
        "logged_in_at": session.logged_in_at,
        "expires_at": session.expires_at,
        "token_version": session.token_version,
        "login_failure": session.login_failure,
    }

"""Accounts at the broker, the secrets and sessions they need, and the people and programs that may use them."""

import hashlib
import secrets
import uuid
from datetime import datetime, timedelta
from typing import Self

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator, URLValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.actions import Action, opened_by
from accounts.addresses import validate_network

# Models with a module of their own; Django looks for them here.
from accounts.audit_events import AuditEvent as AuditEvent
from accounts.audit_events import AuditLink as AuditLink
from accounts.identities import ExternalIdentity as ExternalIdentity
from accounts.tickets import SocketTicket as SocketTicket

web_address = URLValidator(["http", "https"])


def new_hook_slug() -> str:
    return secrets.token_urlsafe(32)


class KiteApp(models.Model):
    """An app registered with the broker's developer console. Sockets, data budget and postbacks belong to it."""

    api_key = models.CharField(max_length=64, unique=True)
    label = models.CharField(max_length=100)
    redirect_url = models.CharField(
        max_length=200,
        blank=True,
        validators=[web_address],
        help_text="Where the broker's login page returns to, as registered there.",
    )
    postback_url = models.CharField(
        max_length=200,
        blank=True,
        validators=[web_address],
        help_text="Where the broker reports order updates, as registered there.",
    )
    # Not a secret: what is posted is verified. But nobody finds it by trying.
    hook_slug = models.CharField(max_length=43, unique=True, editable=False, default=new_hook_slug)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["label"]
        verbose_name = "Kite app"

    def __str__(self) -> str:
        return self.label

    @property
    def hook_path(self) -> str:
        """Where this service takes the app's postbacks; below `WEB_ADDRESS` it is what to register at the broker."""
        return f"/hooks/kite/{self.hook_slug}"


class TradingAccountQuerySet(models.QuerySet["TradingAccount"]):
    def enabled(self) -> Self:
        return self.filter(state=TradingAccount.State.ENABLED)

    def for_data(self) -> Self:
        """Accounts that may feed market data, the preferred one first."""
        return self.enabled().filter(is_data=True).order_by("priority", "pk")

    def visible_to_user(self, user: User, action: Action) -> Self:
        """Accounts on which a person may do `action`.

        An owner may do everything. An administrator of the service may see and administer every account, but not
        trade on one: that takes a grant, which leaves a row behind.
        """
        if not user.is_active:
            return self.none()
        if user.is_superuser and action != Action.TRADE:
            return self.all()
        granted = Grant.objects.filter(user=user, action__in=opened_by(action))
        return self.filter(Q(owner=user) | Q(pk__in=granted.values("account")))

    def visible_to_key(self, key: "ApiKey", action: Action) -> Self:
        """Accounts on which a key may do `action`: in its scopes, on its list, and allowed to its owner or itself."""
        if opened_by(action).isdisjoint(key.scopes):
            return self.none()
        owners = TradingAccount.objects.visible_to_user(key.owner, action)
        granted = Grant.objects.filter(api_key=key, action__in=opened_by(action))
        if not key.owner.is_active:  # a key ends with the person who answers for it, whatever was granted to it
            return self.none()
        return self.filter(Q(pk__in=owners.values("pk")) | Q(pk__in=granted.values("account")), api_keys=key)


class TradingAccount(models.Model):
    """One user of the broker. Orders, positions and the login belong to it."""

    class State(models.TextChoices):
        ENABLED = "enabled"
        DISABLED = "disabled"

    class Colour(models.TextChoices):
        """Tints of the monogram: never a colour that means something elsewhere on a page."""

        SLATE = "slate"
        SAND = "sand"
        PLUM = "plum"
        MOSS = "moss"
        CLAY = "clay"
        SKY = "sky"

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    kite_user_id = models.CharField(
        "Kite user id", max_length=12, unique=True, validators=[RegexValidator(r"\A[A-Z0-9]{4,12}\Z")]
    )
    label = models.CharField(max_length=100)
    app = models.ForeignKey(KiteApp, on_delete=models.PROTECT, related_name="accounts")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="trading_accounts")
    is_data = models.BooleanField("data", default=True, help_text="May feed market data.")
    is_trading = models.BooleanField("trading", default=False, help_text="May send orders.")
    data_failover = models.BooleanField(
        "data failover",
        default=False,
        help_text="May answer data calls in place of another account of the same owner. Never orders.",
    )
    may_resend = models.BooleanField(
        "sends again",
        default=False,
        help_text="An order that was lost with its worker, and that the broker provably never had, is sent again. The "
        "broker's order book is the only witness: if it is wrong, this buys twice.",
    )
    priority = models.PositiveSmallIntegerField(default=100, help_text="Lower is used first.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.ENABLED)
    automated_login = models.BooleanField(
        "automated login", default=False, help_text="Log in by itself each morning, with the stored password and TOTP."
    )
    monogram_colour = models.CharField(max_length=10, choices=Colour.choices, default=Colour.SLATE)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TradingAccountQuerySet.as_manager()

    class Meta:
        ordering = ["priority", "pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(kite_user_id__regex=r"^[A-Z0-9]{4,12}$"), name="accounts_account_kite_user_id"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.label} ({self.kite_user_id})"

    @property
    def monogram(self) -> str:
        """One or two letters for the label: initials, or its beginning."""
        words = self.label.split()
        letters = "".join(word[0] for word in words[:2]) if len(words) > 1 else self.label[:2]
        return letters.upper()


class BrokerCredentialQuerySet(models.QuerySet["BrokerCredential"]):
    def of(self, holder: "KiteApp | TradingAccount") -> Self:
        return self.filter(app=holder) if isinstance(holder, KiteApp) else self.filter(account=holder)


class BrokerCredential(models.Model):
    """A secret, sealed. Written and opened by `accounts.credentials` only; it appears in no page, answer or log."""

    class Kind(models.TextChoices):
        API_SECRET = "api_secret", "API secret"
        ACCESS_TOKEN = "access_token", "access token"
        PASSWORD = "password", "password"
        TOTP_SEED = "totp_seed", "TOTP seed"

    app = models.ForeignKey(KiteApp, on_delete=models.CASCADE, null=True, blank=True, related_name="credentials")
    account = models.ForeignKey(
        TradingAccount, on_delete=models.CASCADE, null=True, blank=True, related_name="credentials"
    )
    kind = models.CharField(max_length=20, choices=Kind.choices)
    ciphertext = models.BinaryField()
    key_id = models.CharField(max_length=8, db_index=True, help_text="Which key of the ring sealed it.")
    version = models.PositiveIntegerField(default=1)
    updated_at = models.DateTimeField(auto_now=True)

    objects = BrokerCredentialQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(app__isnull=True, account__isnull=False) | Q(app__isnull=False, account__isnull=True),
                name="accounts_credential_one_holder",
            ),
            models.UniqueConstraint(fields=["account", "kind"], name="accounts_credential_account_kind"),
            models.UniqueConstraint(fields=["app", "kind"], name="accounts_credential_app_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.holder}"

    @property
    def holder(self) -> "KiteApp | TradingAccount":
        holder = self.account or self.app
        assert holder is not None  # noqa: S101  (the table's own constraint)
        return holder


class BrokerSession(models.Model):
    """The account's login of the day. The token itself is a credential; this row says how good it is."""

    class Status(models.TextChoices):
        NONE = "none", "never logged in"
        ACTIVE = "active", "logged in"
        ENDED = "ended", "logged out"

    account = models.OneToOneField(TradingAccount, on_delete=models.CASCADE, related_name="session")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.NONE)
    token_version = models.PositiveIntegerField(default=0, help_text="Grows with each login; readers compare it.")
    logged_in_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    # Automated logins that failed since the last one that did not: some tries lock the account at the broker.
    login_failures = models.PositiveSmallIntegerField(default=0)
    login_failed_at = models.DateTimeField(null=True, blank=True)
    login_failure = models.CharField("why it failed", max_length=500, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(status="active") | Q(logged_in_at__isnull=False, expires_at__isnull=False),
                name="accounts_session_active_has_times",
            ),
        ]

    def __str__(self) -> str:
        return f"session of {self.account}"

    def is_live(self, moment: datetime) -> bool:
        """Whether the token may still work at `moment` (market time). Only the clock tells: nothing is pushed."""
        return self.status == self.Status.ACTIVE and self.expires_at is not None and moment < self.expires_at

    def has_run_out(self, moment: datetime) -> bool:
        """Whether the token has ended by the clock at `moment`, though nobody has logged out."""
        return self.status == self.Status.ACTIVE and not self.is_live(moment)


class OrderDay(models.Model):
    """How many orders an account has sent on one Indian day: what is left of the count when Redis loses it."""

    account = models.ForeignKey(TradingAccount, on_delete=models.CASCADE, related_name="order_days")
    day = models.DateField(help_text="In India, by the database's clock.")
    used = models.PositiveIntegerField(default=0, help_text="As counted in Redis; a few seconds late.")
    used_without_redis = models.PositiveIntegerField(default=0, help_text="Let through while Redis was away.")
    latest_without_redis = ArrayField(models.DateTimeField(), default=list, help_text="Those of the last second.")
    charged_at = models.DateTimeField(help_text="When a charge was last written down.")

    class Meta:
        ordering = ["-day", "account"]
        constraints = [models.UniqueConstraint(fields=["account", "day"], name="accounts_orderday_account_day")]

    def __str__(self) -> str:
        return f"orders of {self.account} on {self.day}"


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable_at(self, moment: datetime) -> Self:
        return self.filter(revoked_at__isnull=True, expires_at__gt=moment, owner__is_active=True)


def default_key_expiry() -> datetime:
    return timezone.now() + timedelta(days=90)


class ApiKey(models.Model):
    """A program's way in. Only the digest of the key is kept; `accounts.api_keys` makes and checks them."""

    LONGEST_LIFE = timedelta(days=365)

    key_id = models.CharField(max_length=8, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    label = models.CharField(max_length=100)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_keys")
    scopes = ArrayField(models.CharField(max_length=10, choices=Action.choices))
    accounts = models.ManyToManyField(TradingAccount, blank=True, related_name="api_keys")
    networks = ArrayField(
        models.CharField(max_length=43, validators=[validate_network]),
        default=list,
        blank=True,
        help_text="Addresses or networks it may come from; empty: any.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(default=default_key_expiry)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API key"
        constraints = [
            models.CheckConstraint(condition=Q(scopes__contained_by=Action.values), name="accounts_apikey_scopes"),
            models.CheckConstraint(
                condition=Q(expires_at__lte=models.F("created_at") + timedelta(days=366)), name="accounts_apikey_life"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.label} ({self.key_id})"

    def is_usable_at(self, moment: datetime) -> bool:
        """The rule of `usable_at`, for a key that is loaded (with its owner)."""
        return self.revoked_at is None and self.expires_at > moment and self.owner.is_active


class Grant(models.Model):
    """Lets one person or one key do one thing on an account that is not theirs."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="grants"
    )
    api_key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, null=True, blank=True, related_name="grants")
    account = models.ForeignKey(TradingAccount, on_delete=models.CASCADE, related_name="grants")
    action = models.CharField(max_length=10, choices=Action.choices)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(user__isnull=True, api_key__isnull=False) | Q(user__isnull=False, api_key__isnull=True),
                name="accounts_grant_one_principal",
            ),
            models.CheckConstraint(condition=Q(action__in=Action.values), name="accounts_grant_action"),
            models.UniqueConstraint(fields=["user", "account", "action"], name="accounts_grant_user"),
            models.UniqueConstraint(fields=["api_key", "account", "action"], name="accounts_grant_key"),
        ]

    def __str__(self) -> str:
        return f"{self.user or self.api_key} may {self.action} {self.account}"


class LoginLinkQuerySet(models.QuerySet["LoginLink"]):
    def issue(self, user: User, *, valid_for: timedelta = timedelta(minutes=10)) -> str:
        """Make a link for `user` and return its token, which is kept nowhere."""
        token = secrets.token_urlsafe(32)
        self.create(user=user, digest=_digest(token), expires_at=timezone.now() + valid_for)
        return token

    def redeem(self, token: str) -> User | None:
        """Whom the link logs in; None if it is unknown, too old, or used before. Of two at once, one wins."""
        now = timezone.now()
        link = self.filter(digest=_digest(token), user__is_active=True).select_related("user").first()
        if link is None:
            return None
        won = self.filter(pk=link.pk, used_at__isnull=True, expires_at__gt=now).update(used_at=now)
        return link.user if won else None


class LoginLink(models.Model):
    """An address that logs one person in, once."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="login_links")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    objects = LoginLinkQuerySet.as_manager()

    def __str__(self) -> str:
        return f"login link of {self.user}"


def _digest(token: str) -> str:
    # 256 random bits need no slow hash: there is nothing to guess.
    return hashlib.sha256(token.encode()).hexdigest()

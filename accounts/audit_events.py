"""The audit's tables: what happened, and the chain that shows whether any of it was changed since.

Both only grow: triggers of the migration refuse UPDATE, DELETE and TRUNCATE, whoever asks. Accounts and people are
written down as text, not as foreign keys: what happened stays true after they are gone.
"""

import uuid

from django.db import models


class Kind(models.TextChoices):
    """What can happen. A value is stored and hashed: never change one, add another."""

    PERSON_LOGGED_IN = "person.logged_in", "person logged in"
    PERSON_LOGGED_OUT = "person.logged_out", "person logged out"
    PERSON_REFUSED = "person.refused", "login refused"
    LOGIN_LINK_MADE = "person.link_made", "login link made"
    KEY_MADE = "key.made", "API key made"
    KEY_ACCOUNTS = "key.accounts", "API key's accounts changed"
    KEY_REPLACED = "key.replaced", "API key replaced"
    KEY_REVOKED = "key.revoked", "API key revoked"
    KEY_REFUSED = "key.refused", "API key refused"
    KEY_IN_ADDRESS = "key.in_address", "API key sent in an address"
    TOKEN_REFUSED = "token.refused", "token refused"
    TICKET_REFUSED = "ticket.refused", "WebSocket ticket refused"
    IDENTITY_LINKED = "identity.linked", "external subject linked"
    IDENTITY_UNLINKED = "identity.unlinked", "external subject unlinked"
    ACCESS_REFUSED = "access.refused", "access to an account refused"
    GRANT_GIVEN = "grant.given", "grant given"
    GRANT_TAKEN = "grant.taken", "grant taken away"
    CREDENTIAL_STORED = "credential.stored", "secret stored"
    CREDENTIAL_RESEALED = "credential.resealed", "secret sealed with another key"
    CREDENTIAL_FORGOTTEN = "credential.forgotten", "secret forgotten"
    BROKER_LOGGED_IN = "broker.logged_in", "logged in at the broker"
    BROKER_LOGGED_OUT = "broker.logged_out", "logged out at the broker"
    BROKER_TOKEN_DIED = "broker.token_died", "token refused by the broker"
    BROKER_LOGIN_FAILED = "broker.login_failed", "login at the broker failed"
    AUTOMATED_LOGIN_ON = "account.automated_login_on", "automated login opted in to"
    AUTOMATED_LOGIN_OFF = "account.automated_login_off", "automated login opted out of"
    ACCOUNT_ADDED = "account.added", "account taken on"
    ACCOUNT_CHANGED = "account.changed", "account changed"
    ACCOUNT_ENABLED = "account.enabled", "account enabled"
    ACCOUNT_DISABLED = "account.disabled", "account disabled"
    ORDER_ACCEPTED = "order.accepted", "order taken on"
    ORDER_SENT = "order.sent", "order marked for sending"
    ORDER_KEY_REUSED = "order.key_reused", "Idempotency-Key sent with another order"
    ORDER_RESOLVED = "order.resolved", "order settled by a person"
    ORDER_LIMITS = "order.limits", "limits on orders changed"
    TRADING_STATE = "trading.state", "trading stopped or resumed"
    ADMIN_CHANGED = "admin.changed", "added or changed in the admin"
    ADMIN_DELETED = "admin.deleted", "deleted in the admin"


class AuditEvent(models.Model):
    """One thing that happened. Written by `accounts.audit.record` only."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    at = models.DateTimeField(db_index=True, help_text="System time.")
    # Without `choices`: a new kind of event is no change of the table.
    kind = models.CharField(max_length=40)
    actor = models.CharField(max_length=300, db_index=True, help_text="Who did it, as user:3 or apikey:abcd1234.")
    actor_label = models.CharField(max_length=200, blank=True, help_text="What they were called then.")
    account = models.CharField(max_length=12, blank=True, db_index=True, help_text="The Kite user id, if one matters.")
    address = models.CharField(max_length=45, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    details = models.JSONField(default=dict)
    digest = models.CharField(max_length=64, help_text="SHA-256 of the canonical form of the fields above.")

    class Meta:
        verbose_name = "audit event"
        indexes = [models.Index(fields=["kind", "at"], name="accounts_audit_kind_at")]

    def __str__(self) -> str:
        return f"{self.kind_label} by {self.actor_label or self.actor}"

    @property
    def kind_label(self) -> str:
        return str(Kind(self.kind).label) if self.kind in Kind else self.kind


class AuditLink(models.Model):
    """An event's place in the chain. A trigger inserts it when the event's transaction commits."""

    position = models.BigIntegerField(primary_key=True)
    event = models.OneToOneField(AuditEvent, on_delete=models.PROTECT, related_name="link")
    previous = models.CharField(max_length=64, help_text="The hash of the position before; zeros at the first.")
    hash = models.CharField(max_length=64, help_text="SHA-256 of `previous` and the event's digest, as text.")

    class Meta:
        verbose_name = "audit link"

    def __str__(self) -> str:
        return f"{self.position}:{self.hash}"

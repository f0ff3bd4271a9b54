"""Tickets that open one WebSocket each, for browsers: those cannot send a header along, and an address ends up in logs.

A ticket is worth half a minute, once, to one page's origin, and no more than its maker may do.
"""

import copy
import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.actions import Action

LIFETIME = timedelta(seconds=30)


class SocketTicketQuerySet(models.QuerySet["SocketTicket"]):
    def issue(self, *, scopes: Iterable[Action], origin: str, **maker: object) -> tuple["SocketTicket", str]:
        """Make a ticket and return it with its text, which is kept nowhere. What is long over is cleared away."""
        now = timezone.now()
        self.filter(expires_at__lt=now - LIFETIME).delete()
        text = secrets.token_urlsafe(32)
        ticket = self.create(
            digest=_digest(text),
            scopes=sorted(Action(scope).value for scope in scopes),
            origin=origin,
            created_at=now,
            expires_at=now + LIFETIME,
            **maker,
        )
        return ticket, text

    def redeem(self, text: str, origin: str) -> "SocketTicket | None":
        """The ticket, used up by this; None if it is unknown, over, used or another page's. Of two at once one wins."""
        now = timezone.now()
        mine = self.filter(digest=_digest(text), origin=origin, expires_at__gt=now, used_at__isnull=True)
        if not mine.update(used_at=now):
            return None
        return self.select_related("user", "api_key__owner", "identity__user").get(digest=_digest(text))

    def with_maker(self, redeemed: "SocketTicket") -> "SocketTicket | None":
        """A ticket that was redeemed before, with its maker as that is now; None if the maker is gone.

        The row itself may have been cleared away: a socket lives longer than its ticket.
        """
        fresh = copy.copy(redeemed)
        for name in ("user", "api_key", "identity"):
            if (maker := getattr(redeemed, name)) is not None:
                related = {"api_key": ("owner",), "identity": ("user",)}.get(name, ())
                again = type(maker).objects.select_related(*related).filter(pk=maker.pk).first()
                if again is None:
                    return None
                setattr(fresh, name, again)
        return fresh


class SocketTicket(models.Model):
    """Made by exactly one of a person, a key, or a token's subject."""

    digest = models.CharField(max_length=64, unique=True, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True)
    password_mark = models.CharField(max_length=64, blank=True, help_text="Changes with the person's password.")
    api_key = models.ForeignKey("accounts.ApiKey", on_delete=models.CASCADE, null=True, blank=True)
    identity = models.ForeignKey("accounts.ExternalIdentity", on_delete=models.CASCADE, null=True, blank=True)
    maker_ends_at = models.DateTimeField(null=True, blank=True, help_text="When the token that made it ends.")
    scopes = ArrayField(models.CharField(max_length=10, choices=Action.choices))
    origin = models.CharField(max_length=300)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    used_at = models.DateTimeField(null=True, blank=True)

    objects = SocketTicketQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(user__isnull=False, api_key__isnull=True, identity__isnull=True)
                | Q(user__isnull=True, api_key__isnull=False, identity__isnull=True)
                | Q(user__isnull=True, api_key__isnull=True, identity__isnull=False, maker_ends_at__isnull=False),
                name="accounts_ticket_one_maker",
            ),
        ]

    def __str__(self) -> str:
        return f"ticket of {self.user or self.api_key or self.identity}"

    def maker_is_good(self, moment: datetime) -> bool:
        """Whether whoever made it may still act, as it was loaded from the database."""
        if self.user is not None:
            return self.user.is_active and self.password_mark == password_mark(self.user)
        if self.api_key is not None:
            key = self.api_key
            return key.revoked_at is None and key.expires_at > moment and key.owner.is_active
        identity = self.identity
        return identity is not None and identity.user.is_active and moment < (self.maker_ends_at or moment)


def password_mark(user: models.Model) -> str:
    """What tells that a person's password has changed, and nothing about it."""
    return hashlib.sha256(str(user.get_session_auth_hash()).encode()).hexdigest()  # type: ignore[attr-defined]


def _digest(text: str) -> str:
    # 256 random bits need no slow hash: there is nothing to guess.
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()

"""What is streamed because somebody asked for it, and which process streams it through which account.

What follows from subscriptions (underlyings) is computed, never stored.
"""

from datetime import date
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q

from accounts.models import KiteApp, TradingAccount
from market.models import Instrument
from streaming import strike_models as strike_models  # Django looks for an app's models here
from streaming.strike_models import StrikeRule


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    """The questions that are asked of subscriptions."""

    def active(self) -> Self:
        return self.filter(status=Subscription.Status.ACTIVE)

    def streamable_on(self, day: date) -> Self:
        """Active subscriptions whose instrument is listed and has not expired on `day` (IST)."""
        living = Q(instrument__expiry__isnull=True) | Q(instrument__expiry__gte=day)
        return self.active().filter(living, instrument__is_active=True)

    def explicit(self) -> Self:
        """Active ones that somebody asked for, as against those that a rule holds: no rule touches them."""
        return self.active().filter(rule__isnull=True)

    def of_token(self, instrument_token: int) -> Self:
        """The subscription to the token's bearer, the newest first: tokens are recycled, rows of old bearers stay."""
        return self.filter(instrument__instrument_token=instrument_token).order_by(
            "-instrument__is_active", "-instrument__first_seen", "-pk"
        )


class Subscription(models.Model):
    """One instrument that is to be streamed. Giving it up makes it inactive: the row and its history stay.

    An active row without a `rule` was asked for by somebody; one with a rule is held by the rule alone, which may
    change it and give it up. Whoever asks for such an instrument takes it over from the rule.
    """

    class Mode(models.TextChoices):
        LTP = "ltp", "LTP"
        QUOTE = "quote", "Quote"
        FULL = "full", "Full"

    class Status(models.TextChoices):
        ACTIVE = "active", "Active"
        INACTIVE = "inactive", "Inactive"

    instrument = models.OneToOneField(Instrument, on_delete=models.CASCADE, related_name="subscription")
    requested_mode = models.CharField(max_length=5, choices=Mode, default=Mode.FULL)
    status = models.CharField(max_length=8, choices=Status, default=Status.ACTIVE)
    account = models.ForeignKey(
        TradingAccount,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="subscriptions",
        help_text="Stream through this account only; empty: any account with room.",
    )
    rule = models.ForeignKey(
        StrikeRule,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="subscriptions",
        help_text="The strike rule that holds it; empty: somebody asked for it.",
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="subscriptions"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        ordering = ["instrument__exchange", "instrument__tradingsymbol"]
        constraints = [
            models.CheckConstraint(
                condition=Q(requested_mode__in=["ltp", "quote", "full"]), name="streaming_subscription_mode"
            ),
            models.CheckConstraint(
                condition=Q(status__in=["active", "inactive"]), name="streaming_subscription_status"
            ),
            models.CheckConstraint(
                condition=Q(rule__isnull=True) | Q(status="active"), name="streaming_subscription_held_is_active"
            ),
        ]
        indexes = [models.Index(fields=["updated_at"], name="streaming_subscription_changed")]

    def __str__(self) -> str:
        return f"{self.instrument} ({self.requested_mode}, {self.status})"


class StreamMember(models.Model):
    """A stream process that lives, while its lease runs: also one that holds no slot and stands by."""

    owner = models.UUIDField(primary_key=True)
    name = models.CharField(max_length=100)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(help_text="Its last sign of life.")
    lease_until = models.DateTimeField()

    class Meta:
        ordering = ["started_at", "owner"]

    def __str__(self) -> str:
        return self.name


class StreamSlot(models.Model):
    """One of the three sockets that the broker allows an app, and the process that may open it.

    Written by conditional statements only (`streaming.leases`). Nobody takes a slot before the lease is over and, since
    the broker may count a socket for a while that has no reader any more, before it has drained.
    """

    app = models.ForeignKey(KiteApp, on_delete=models.CASCADE, related_name="stream_slots")
    number = models.PositiveSmallIntegerField()
    owner = models.UUIDField(null=True, blank=True)
    epoch = models.BigIntegerField(default=0, help_text="Grows with each taking.")
    lease_until = models.DateTimeField(null=True, blank=True)
    drained_after = models.DateTimeField(null=True, blank=True)
    is_lost = models.BooleanField(default=False, help_text="Held, but its account has had no working socket for long.")

    class Meta:
        ordering = ["app", "number"]
        constraints = [
            models.UniqueConstraint(fields=["app", "number"], name="streaming_slot_once"),
            models.CheckConstraint(condition=Q(number__lte=2), name="streaming_slot_number"),
            models.CheckConstraint(
                condition=Q(owner__isnull=True) | Q(lease_until__isnull=False, drained_after__isnull=False),
                name="streaming_slot_owner_has_lease",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.app} socket {self.number + 1}"


class StreamPart(models.Model):
    """Who streams a part: its one writer, and the account that carries it.

    `reason` says why it is not streamed; a part that no account carries still has a writer, who says that it is stale.
    """

    part = models.CharField(primary_key=True, max_length=100)
    owner = models.UUIDField(null=True, blank=True)
    account = models.ForeignKey(
        TradingAccount, on_delete=models.SET_NULL, null=True, blank=True, related_name="stream_parts"
    )
    reason = models.CharField(max_length=300, blank=True)
    missed_since = models.DateTimeField(
        null=True, blank=True, help_text="When the one who carried it before last did so. System time."
    )

    class Meta:
        ordering = ["part"]

    def __str__(self) -> str:
        return self.part

"""The ledger of the feed's outages: what was not streamed, from when to when, why, and what became of its bars."""

from datetime import datetime
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q


class FeedGapQuerySet(models.QuerySet["FeedGap"]):
    """The questions that are asked of the ledger."""

    def unrepaired(self) -> Self:
        """Those of which minute bars may still be missing."""
        return self.exclude(status=FeedGap.Status.REPAIRED)

    def over(self, start: datetime, end: datetime) -> Self:
        """Those that share a moment with a stretch of market time, its ends included."""
        return self.filter(Q(ended_at__isnull=True) | Q(ended_at__gte=start), started_at__lte=end)

    def counted(self) -> Self:
        """With the numbers of instruments in place of their ids, which are thousands."""
        names = {"instrument_count": "instruments", "remaining_count": "remaining", "refused_count": "refused"}
        counts = {count: F(f"{name}__len") for count, name in names.items()}
        return self.defer(*names.values()).annotate(**counts)

    def lacking(self, instrument_id: int) -> Self:
        """Those of which this instrument's bars are not refilled."""
        return self.filter(Q(remaining__contains=[instrument_id]) | Q(refused__contains=[instrument_id]))


class FeedGap(models.Model):
    """One outage of one of the broker's sockets, inside market hours. Opened and closed by the stream, then refilled.

    Its two ends are market time, as minute bars are; when it was closed, is due and was repaired is system time.
    """

    class Cause(models.TextChoices):
        DISCONNECTED = "disconnected", "The socket was closed or could not be opened"
        SILENT = "silent", "Connected, but nothing came"
        LOGGED_OUT = "logged_out", "No account was logged in that may feed market data"
        ABSENT = "absent", "No stream was running"
        MOVED = "moved", "Another process or account has taken its instruments over"

    class Status(models.TextChoices):
        OPEN = "open", "Going on"
        CLOSED = "closed", "Over, its bars are to be refilled"
        REPAIRED = "repaired", "Refilled"
        GIVEN_UP = "given_up", "Over, and some of its bars cannot be had"

    feed = models.CharField(max_length=100, help_text="The socket, with the broker's user id")
    cause = models.CharField(max_length=12, choices=Cause)
    started_at = models.DateTimeField(help_text="The last moment at which nothing was missed. Market time")
    ended_at = models.DateTimeField(null=True, blank=True, help_text="The first data since, or the close. Market time")
    instruments = ArrayField(models.BigIntegerField(), help_text="The ids of those that it carried")
    remaining = ArrayField(models.BigIntegerField(), help_text="The ids of those that are to be refilled", blank=True)
    refused = ArrayField(
        models.BigIntegerField(), default=list, blank=True, help_text="The ids of those that the broker refuses"
    )
    status = models.CharField(max_length=8, choices=Status)
    bars_refilled = models.PositiveIntegerField(default=0)
    reason = models.CharField(max_length=300, blank=True, help_text="Why bars are not refilled, or not yet")
    closed_at = models.DateTimeField(null=True, blank=True, help_text="System time")
    due_at = models.DateTimeField(null=True, blank=True, help_text="System time of the next try")
    repaired_at = models.DateTimeField(null=True, blank=True, help_text="System time")

    objects = FeedGapQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at", "feed"]
        constraints = [
            models.UniqueConstraint(fields=["feed", "started_at"], name="market_feed_gap"),
            models.CheckConstraint(condition=Q(ended_at__gte=F("started_at")), name="market_feed_gap_ends"),
            models.CheckConstraint(
                condition=Q(status="open", ended_at__isnull=True)
                | (~Q(status="open") & Q(ended_at__isnull=False, closed_at__isnull=False)),
                name="market_feed_gap_open",
            ),
            models.CheckConstraint(
                condition=Q(status="repaired", repaired_at__isnull=False, remaining=[], refused=[])
                | (~Q(status="repaired") & Q(repaired_at__isnull=True)),
                name="market_feed_gap_repaired",
            ),
        ]
        indexes = [
            models.Index(fields=["started_at"], name="market_feed_gap_start"),
            models.Index(fields=["due_at"], condition=Q(status="closed"), name="market_feed_gap_due"),
            models.Index(fields=["started_at"], condition=~Q(status="repaired"), name="market_feed_gap_unrepaired"),
        ]

    def __str__(self) -> str:
        return f"{self.feed} {self.started_at:%Y-%m-%d %H:%M:%S}"


class GapLedger(models.Model):
    """One row: until when every outage is in the ledger, by the stream's word. Beyond it a stream was absent."""

    kept_until = models.DateTimeField(help_text="Market time")

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(pk=1), name="market_gap_ledger_is_one")]

    def __str__(self) -> str:
        return f"kept until {self.kept_until:%Y-%m-%d %H:%M:%S}"

"""Rules that keep strikes around the money streamed, and the ledger of what each of them did."""

from decimal import Decimal
from typing import Self

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Floor

from accounts.models import TradingAccount
from market.models import Instrument
from streaming.rebalance import Change, Terms, WidthKind
from streaming.wire_requests import Mode

MOST_EXPIRIES = 12
MOST_STRIKES = 500
# What a width may be, by its kind: above the first and up to the second; a count may be 0, the money alone.
WIDTHS: dict[WidthKind, tuple[Decimal, Decimal]] = {
    WidthKind.COUNT: (Decimal(-1), Decimal(MOST_STRIKES)),
    WidthKind.PERCENT: (Decimal(0), Decimal(50)),
    WidthKind.DELTA: (Decimal(0), Decimal("0.5")),
}
WIDTH_IN_WORDS: dict[WidthKind, str] = {
    WidthKind.COUNT: f"A count of strikes is a whole number from 0 to {MOST_STRIKES}.",
    WidthKind.PERCENT: "Per cent of the centre lie above 0 and up to 50.",
    WidthKind.DELTA: "A delta lies above 0 and up to 0.5: the option out of the money, without its sign.",
}


class StrikeRuleQuerySet(models.QuerySet["StrikeRule"]):
    """The questions that are asked of rules."""

    def enabled(self) -> Self:
        return self.filter(enabled=True)


class StrikeRule(models.Model):
    """Which strikes of one underlying are streamed, following the money: so many about it, over so many expiries."""

    class Kind(models.TextChoices):
        COUNT = WidthKind.COUNT.value, "Strikes on either side"
        PERCENT = WidthKind.PERCENT.value, "Per cent on either side"
        DELTA = WidthKind.DELTA.value, "Down to a delta"

    class Mode(models.TextChoices):
        LTP = Mode.LTP.value, "LTP"
        QUOTE = Mode.QUOTE.value, "Quote"
        FULL = Mode.FULL.value, "Full"

    underlying = models.CharField(max_length=64, help_text="The name that contracts use: NIFTY")
    exchange = models.CharField(max_length=16, default="NFO", help_text="Where the options are listed: NFO, BFO, MCX …")
    enabled = models.BooleanField(
        default=True, help_text="A rule that is switched off gives up its strikes; there is one that is on, at most."
    )
    expiries = models.PositiveSmallIntegerField(
        default=2,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_EXPIRIES)],
        help_text="How many, the nearest first",
    )
    width_kind = models.CharField(max_length=8, choices=Kind, default=Kind.COUNT)
    width = models.DecimalField(
        max_digits=9, decimal_places=4, help_text="Strikes, per cent, or a delta without its sign, by the kind"
    )
    mode = models.CharField(max_length=5, choices=Mode, default=Mode.FULL, help_text="The most that is asked for")
    full_within = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Strikes from the centre; farther ones are streamed as quotes. Empty: none"
    )
    quote_within = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Strikes from the centre; of farther ones the last price alone. Empty: none"
    )
    hysteresis = models.DecimalField(
        max_digits=4,
        decimal_places=2,
        default=Decimal("0.5"),
        validators=[MinValueValidator(0), MaxValueValidator(10)],
        help_text="Strikes by which the price has to pass the half-way to the next strike before the centre moves",
    )
    most_instruments = models.PositiveIntegerField(
        null=True, blank=True, help_text="It holds no more than so many. Empty: what the accounts have room for"
    )
    account = models.ForeignKey(
        TradingAccount,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="strike_rules",
        help_text="Stream through this account only; empty: any account with room.",
    )
    # What the runs leave behind; they do not touch `updated_at`, which tells of changes of the rule.
    centres = models.JSONField(
        default=dict, blank=True, help_text="By expiry: the centre, and the forward over the price"
    )
    last_run_at = models.DateTimeField(null=True, blank=True, help_text="System time")
    last_outcome = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = StrikeRuleQuerySet.as_manager()

    class Meta:
        ordering = ["underlying", "-enabled", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["underlying"],
                condition=Q(enabled=True),
                name="streaming_strike_rule_one_enabled",
                violation_error_message="Another rule for this underlying is switched on.",
            ),
            *[
                models.CheckConstraint(
                    condition=~Q(width_kind=kind.value)
                    | Q(width__gt=above, width__lte=most)
                    & (Q(width=Floor("width")) if kind is WidthKind.COUNT else Q()),
                    name=f"streaming_strike_rule_{kind.value}",
                    violation_error_message=WIDTH_IN_WORDS[kind],
                )
                for kind, (above, most) in WIDTHS.items()
            ],
            models.CheckConstraint(
                condition=Q(width_kind__in=[kind.value for kind in WidthKind]), name="streaming_strike_rule_kind"
            ),
            models.CheckConstraint(
                condition=Q(mode__in=[mode.value for mode in Mode]), name="streaming_strike_rule_mode"
            ),
            models.CheckConstraint(
                condition=Q(expiries__gte=1, expiries__lte=MOST_EXPIRIES), name="streaming_strike_rule_expiries"
            ),
            models.CheckConstraint(
                condition=Q(hysteresis__gte=0, hysteresis__lte=10), name="streaming_strike_rule_hysteresis"
            ),
            models.CheckConstraint(
                condition=Q(full_within__isnull=True)
                | Q(quote_within__isnull=True)
                | Q(full_within__lte=F("quote_within")),
                name="streaming_strike_rule_bands",
                violation_error_message="Quotes reach at least as far as full packets.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.underlying}: {self.terms}"

    @property
    def terms(self) -> Terms:
        """The rule as `streaming.rebalance` takes it."""
        return Terms(
            kind=WidthKind(self.width_kind),
            width=self.width,
            mode=Mode(self.mode),
            full_within=self.full_within,
            quote_within=self.quote_within,
            hysteresis=self.hysteresis,
        )


class StrikeMove(models.Model):
    """One instrument that a rule took, gave up or streams in another mode. Written once, never changed."""

    class Action(models.TextChoices):
        ADDED = Change.ADDED.value
        REMOVED = Change.REMOVED.value
        PROMOTED = Change.PROMOTED.value
        DEMOTED = Change.DEMOTED.value

    # The ledger outlives the rule.
    rule = models.ForeignKey(StrikeRule, on_delete=models.SET_NULL, null=True, related_name="moves")
    underlying = models.CharField(max_length=64)
    instrument = models.ForeignKey(Instrument, on_delete=models.CASCADE, related_name="+")
    action = models.CharField(max_length=8, choices=Action)
    mode = models.CharField(max_length=5, help_text="Afterwards; of what was removed the last one")
    reason = models.CharField(max_length=200)
    spot = models.DecimalField(
        max_digits=14, decimal_places=4, null=True, help_text="What the underlying cost; empty where it did not matter"
    )
    at = models.DateTimeField(help_text="Market time")

    class Meta:
        ordering = ["-at", "-pk"]
        indexes = [
            models.Index(fields=["rule", "-at"], name="streaming_move_of_rule"),
            models.Index(fields=["-at"], name="streaming_move_newest"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(action__in=[change.value for change in Change]), name="streaming_move_action"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.instrument} {self.action}: {self.reason}"

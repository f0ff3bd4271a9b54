"""Limits on the orders of everything, an account or one of its strategies.

An order has to keep within all of them: the widest and the narrowest. The row of everything holds for each account by
itself, and `DEFAULTS` stand in for it until somebody writes one: an account without any row is not without limits.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any

from django.core.validators import MinValueValidator
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now

from accounts import audit
from accounts.models import TradingAccount
from accounts.prepared import prepared_cursor

_ABOVE_0 = MinValueValidator(Decimal("0.01"))


@dataclass(frozen=True, slots=True)
class Limits:
    """Figures that an order keeps within; None: no limit. Money in rupees."""

    max_quantity: int | None = None
    max_notional: Decimal | None = None
    max_open_notional: Decimal | None = None
    max_orders_per_minute: int | None = None
    price_band_percent: Decimal | None = None
    max_day_loss: Decimal | None = None
    max_net_delta: Decimal | None = None


@dataclass(frozen=True, slots=True)
class ScopedLimits:
    """Limits, and whose orders they count: of `strategy` alone, or all of the account where it is empty."""

    limits: Limits
    scope: str  # in words: "every account", "AB1234", "AB1234, strategy straddle"
    strategy: str = ""


FIGURES = tuple(each.name for each in fields(Limits))
OF_POSITIONS = ("max_day_loss", "max_net_delta")
# Against slips of the hand: a price or a quantity with a digit too many. What the account can bear is for its owner to
# say. How fast orders may go is the budget's business.
DEFAULTS = Limits(
    max_notional=Decimal("10000000.00"), max_open_notional=Decimal("50000000.00"), price_band_percent=Decimal("20.00")
)
EVERYTHING = "every account"


class OrderLimits(models.Model):
    """One scope's limits. An empty figure is no limit."""

    account = models.ForeignKey(
        TradingAccount,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="order_limits",
        help_text="Empty: each account, by itself.",
    )
    strategy = models.CharField(max_length=50, blank=True, help_text="Only this strategy of the account.")
    max_quantity = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Of one order, in units; of commodities and currencies in lots."
    )
    max_notional = models.DecimalField(
        max_digits=16,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[_ABOVE_0],
        help_text="Of one order: quantity × price, in rupees.",
    )
    max_open_notional = models.DecimalField(
        max_digits=16,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[_ABOVE_0],
        help_text="Of all orders that are not filled yet, in rupees.",
    )
    max_orders_per_minute = models.PositiveIntegerField(null=True, blank=True)
    price_band_percent = models.DecimalField(
        max_digits=5,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[_ABOVE_0],
        help_text="How far beyond the last price, on the side that costs money, an order's price may be.",
    )
    max_day_loss = models.DecimalField(
        max_digits=16,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[_ABOVE_0],
        help_text="Of all positions today, booked and open; beyond it only exits go out. In rupees.",
    )
    max_net_delta = models.DecimalField(
        max_digits=14,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[_ABOVE_0],
        help_text="Of all positions together, long or short, in units of their underlyings.",
    )
    set_by = models.CharField(max_length=100, blank=True)
    set_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = verbose_name_plural = "order limits"
        constraints = [
            models.UniqueConstraint(fields=["account", "strategy"], name="orders_limits_scope", nulls_distinct=False),
            models.CheckConstraint(
                condition=Q(account__isnull=False) | Q(strategy=""), name="orders_limits_strategy_of_account"
            ),
            # Positions are the account's: nobody can tell which strategy they came of.
            models.CheckConstraint(
                condition=Q(strategy="") | Q(max_day_loss__isnull=True, max_net_delta__isnull=True),
                name="orders_limits_positions_of_account",
            ),
            *(
                models.CheckConstraint(
                    condition=Q(**{f"{name}__isnull": True}) | Q(**{f"{name}__gt": 0}), name=f"orders_limits_{name}"
                )
                for name in FIGURES
            ),
            models.CheckConstraint(
                condition=Q(price_band_percent__isnull=True) | Q(price_band_percent__lte=100),
                name="orders_limits_band_of_a_hundred",
            ),
        ]

    def __str__(self) -> str:
        return _scope(self.account, self.strategy)

    @property
    def limits(self) -> Limits:
        return Limits(**{name: getattr(self, name) for name in FIGURES})


_IN_FORCE = f"""
select account_id is not null, strategy, {", ".join(FIGURES)} from orders_orderlimits
 where (account_id is null or account_id = %(account)s)
   and (%(strategy)s::text is null or strategy in ('', %(strategy)s))
 order by 1, 2
"""  # noqa: S608 - the names are ours


def limits_for(account: TradingAccount, strategy: str = "") -> list[ScopedLimits]:
    """What an order of the account's strategy has to keep within, the widest first. One query."""
    return _in_force(account, strategy)


def all_limits_of(account: TradingAccount) -> list[ScopedLimits]:
    """The same with every strategy that has limits of its own."""
    return _in_force(account, None)


def somebody_limits(name: str) -> bool:
    """Whether the figure is limited for anybody."""
    return getattr(DEFAULTS, name) is not None or OrderLimits.objects.exclude(**{name: None}).exists()


def set_limits(account: TradingAccount | None, strategy: str, figures: Mapping[str, Any], *, actor: str) -> OrderLimits:
    """Write all figures of one scope, with its row in the audit.

    Parameters
    ----------
    account : None: each account by itself
    figures : by the names of `FIGURES`, all of them; None lifts a limit
    """
    if set(figures) != set(FIGURES):
        raise ValueError(f"not exactly the figures of a scope: {sorted(figures)}")
    with transaction.atomic():
        OrderLimits.objects.bulk_create([OrderLimits(account=account, strategy=strategy)], ignore_conflicts=True)
        row = OrderLimits.objects.select_for_update(of=("self",)).get(account=account, strategy=strategy)
        before = asdict(row.limits)
        for name, value in figures.items():
            setattr(row, name, value)
        row.set_by, row.set_at = actor[:100], Now()
        row.save()
        record_limits(row, before, actor)
    return row


def record_limits(row: OrderLimits, before: Mapping[str, Any], actor: str) -> None:
    """Write down what changed, in the transaction that is open."""
    row.refresh_from_db()  # as the table has it: 750000 is 750000.00 there
    after = asdict(row.limits)
    changed = {name: [before.get(name), after[name]] for name in FIGURES if before.get(name) != after[name]}
    audit.record(
        audit.Kind.ORDER_LIMITS,
        account=row.account.kite_user_id if row.account else "",
        scope=str(row),
        changed=changed,
        by=actor,
    )


def _in_force(account: TradingAccount, strategy: str | None) -> list[ScopedLimits]:
    # Each order asks before it is sent: put together by the ORM, the query took longer than the database does.
    with prepared_cursor() as cursor:
        cursor.execute(_IN_FORCE, {"account": account.pk, "strategy": strategy})
        rows = cursor.fetchall()
    found = [
        ScopedLimits(Limits(*figures), _scope(account if of_account else None, label), label)
        for of_account, label, *figures in rows
    ]
    return found if rows and not rows[0][0] else [ScopedLimits(DEFAULTS, EVERYTHING), *found]


def _scope(account: TradingAccount | None, strategy: str) -> str:
    whole = account.kite_user_id if account else EVERYTHING
    return f"{whole}, strategy {strategy}" if strategy else whole

"""Orders as rows: what was asked for, everything that happened to it, and what the broker says of it."""

import uuid
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import TransactionNow
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import TradingAccount

# Models with a module of their own; Django looks for them here.
from orders.broker_rows import PortfolioReading as PortfolioReading
from orders.broker_rows import Position as Position
from orders.broker_rows import Postback as Postback
from orders.broker_rows import Trade as Trade
from orders.limits import OrderLimits as OrderLimits
from orders.news import OrderNews as OrderNews
from orders.news import OrderNewsHead as OrderNewsHead
from orders.states import OPEN, PLACING, RUNNABLE, TERMINAL, Operation, Status

MOST_ATTEMPTS = 5


class OrderTaskQuerySet(models.QuerySet["OrderTask"]):
    def runnable(self) -> Self:
        return self.filter(status__in=RUNNABLE)

    def open(self) -> Self:
        """Not at an end yet."""
        return self.filter(status__in=OPEN)

    def unknown(self) -> Self:
        return self.filter(status=Status.UNKNOWN)


class OrderTask(models.Model):
    """One command to the broker, on one account. Its primary key is the order of acceptance.

    Only `orders.ledger` writes it; triggers refuse what its state machine does not have, and a state without its event.
    """

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    account = models.ForeignKey(TradingAccount, on_delete=models.PROTECT, related_name="order_tasks")
    principal = models.CharField(max_length=100, help_text="Who asked for it: user:1, apikey:ab12cd34.")
    operation = models.CharField(max_length=10, choices=Operation)
    params = models.JSONField(help_text="What is sent, checked and in one form. Never a secret.")
    decision = models.JSONField(
        default=dict, help_text="The price that was known when it was taken on; empty if none was."
    )
    idempotency_key = models.CharField(max_length=128)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of operation, account and params.")
    tag = models.CharField(
        max_length=20,
        unique=True,
        validators=[RegexValidator(r"\A[A-Za-z0-9]{20}\Z")],
        help_text="What the order carries at the broker, and is found again by.",
    )
    serial_key = models.CharField(
        max_length=64, blank=True, help_text="Tasks with the same one run one after the other."
    )
    status = models.CharField(max_length=12, choices=Status, default=Status.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    max_attempts = models.PositiveSmallIntegerField(default=MOST_ATTEMPTS)
    run_after = models.DateTimeField(db_default=Now())
    valid_until = models.DateTimeField(help_text="After this moment it is not sent any more.")
    lease_owner = models.CharField(max_length=100, blank=True, help_text="Which worker had it last.")
    lease_token = models.PositiveBigIntegerField(
        default=0, help_text="Grows with each claim; who holds an older one writes nothing."
    )
    lease_until = models.DateTimeField(null=True, blank=True)
    send_started_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="The mark made before sending; empty: provably not sent in this attempt.",
    )
    trading_date = models.DateField(help_text="In India. An order book proves things about its own day only.")
    unknown_since = models.DateTimeField(null=True, blank=True)
    recon_after = models.DateTimeField(null=True, blank=True)
    absent_since = models.DateTimeField(null=True, blank=True, help_text="The first whole book without it.")
    absent_reads = models.PositiveSmallIntegerField(default=0)
    broker_order_id = models.CharField(max_length=20, blank=True)
    error_code = models.CharField(max_length=50, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    is_late_arrival = models.BooleanField(default=False, help_text="Taken for absent at first.")
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)
    version = models.PositiveIntegerField(default=0, help_text="The number of its latest event.")

    objects = OrderTaskQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["account", "idempotency_key"], name="orders_task_idempotency_key"),
            models.UniqueConstraint(
                fields=["account", "broker_order_id"],
                condition=~Q(broker_order_id="") & Q(operation__in=sorted(PLACING)),
                name="orders_task_broker_order",
            ),
            models.CheckConstraint(condition=Q(operation__in=Operation.values), name="orders_task_operation"),
            models.CheckConstraint(condition=Q(status__in=Status.values), name="orders_task_status"),
            models.CheckConstraint(
                condition=~Q(status=Status.COMPLETED) | ~Q(broker_order_id=""),
                name="orders_task_completed_has_id",
            ),
            models.CheckConstraint(
                condition=~Q(status=Status.RUNNING) | Q(lease_until__isnull=False), name="orders_task_running_has_lease"
            ),
            models.CheckConstraint(
                condition=~Q(status=Status.UNKNOWN) | Q(unknown_since__isnull=False, send_started_at__isnull=False),
                name="orders_task_unknown_was_marked",
            ),
        ]
        indexes = [
            models.Index(
                fields=["account", "run_after"], condition=Q(status__in=sorted(RUNNABLE)), name="orders_task_runnable"
            ),
            models.Index(fields=["lease_until"], condition=Q(status=Status.RUNNING), name="orders_task_running"),
            models.Index(fields=["recon_after"], condition=Q(status=Status.UNKNOWN), name="orders_task_unknown"),
            models.Index(fields=["account"], condition=Q(status=Status.DEAD_LETTER), name="orders_task_dead"),
            models.Index(fields=["serial_key"], condition=~Q(serial_key=""), name="orders_task_serial"),
            models.Index(fields=["account", "created_at"], name="orders_task_created"),
            models.Index(fields=["account"], condition=Q(status__in=sorted(OPEN)), name="orders_task_open"),
            models.Index(
                fields=["account", "finished_at"], condition=Q(status=Status.COMPLETED), name="orders_task_done"
            ),
            models.Index(
                fields=["unknown_since"], condition=Q(unknown_since__isnull=False), name="orders_task_was_unknown"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.operation} {self.public_id}"


class OrderEvent(models.Model):
    """One change of a task's state, with what is known to prove it. Rows are never changed or deleted."""

    task = models.ForeignKey(OrderTask, on_delete=models.PROTECT, related_name="events")
    number = models.PositiveIntegerField(help_text="From 1, without gaps.")
    at = models.DateTimeField(db_default=Now())
    from_status = models.CharField(max_length=12, choices=Status, blank=True)
    to_status = models.CharField(max_length=12, choices=Status)
    actor = models.CharField(max_length=100, help_text="Who did it: a principal, or a worker's name.")
    lease_token = models.PositiveBigIntegerField(default=0)
    reason = models.CharField(max_length=50)
    evidence = models.JSONField(default=dict)

    class Meta:
        ordering = ["task", "number"]
        constraints = [models.UniqueConstraint(fields=["task", "number"], name="orders_event_number")]

    def __str__(self) -> str:
        return f"{self.from_status or 'new'} → {self.to_status}: {self.reason}"


class BrokerOrder(models.Model):
    """An order as the broker last told of it. Only `orders.broker_orders` writes it, and never backwards."""

    account = models.ForeignKey(TradingAccount, on_delete=models.PROTECT, related_name="broker_orders")
    order_id = models.CharField(max_length=20)
    task = models.ForeignKey(
        OrderTask,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="broker_orders",
        help_text="By its tag.",
    )
    parent_order_id = models.CharField(max_length=20, blank=True)
    exchange_order_id = models.CharField(max_length=40, blank=True)
    placed_by = models.CharField(max_length=20, blank=True)
    tag = models.CharField(max_length=50, blank=True)
    status = models.CharField(max_length=40)
    status_message = models.CharField(max_length=500, blank=True)
    variety = models.CharField(max_length=20, blank=True)
    exchange = models.CharField(max_length=10)
    tradingsymbol = models.CharField(max_length=64)
    transaction_type = models.CharField(max_length=4)
    order_type = models.CharField(max_length=10, blank=True)
    product = models.CharField(max_length=10, blank=True)
    validity = models.CharField(max_length=10, blank=True)
    quantity = models.PositiveBigIntegerField()
    disclosed_quantity = models.PositiveBigIntegerField(default=0)
    filled_quantity = models.PositiveBigIntegerField(default=0)
    cancelled_quantity = models.PositiveBigIntegerField(default=0)
    price = models.DecimalField(max_digits=14, decimal_places=4, default=0)
    trigger_price = models.DecimalField(max_digits=14, decimal_places=4, default=0)
    average_price = models.DecimalField(max_digits=14, decimal_places=4, default=0)
    order_timestamp = models.DateTimeField(
        null=True, blank=True, help_text="When the broker took the latest request about it."
    )
    exchange_timestamp = models.DateTimeField(null=True, blank=True)
    exchange_update_timestamp = models.DateTimeField(null=True, blank=True)
    modifications = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="As its history showed them; empty: not read."
    )
    orphan_since = models.DateTimeField(
        null=True, blank=True, help_text="When it was found to have a tag of ours that no task has."
    )
    first_seen_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    source = models.CharField(max_length=10, help_text="Where the latest news came from: book, history, socket.")

    class Meta:
        ordering = ["-pk"]
        constraints = [models.UniqueConstraint(fields=["account", "order_id"], name="orders_brokerorder_id")]
        indexes = [
            models.Index(fields=["account", "tag"], name="orders_brokerorder_tag"),
            models.Index(fields=["account"], condition=~Q(status__in=sorted(TERMINAL)), name="orders_brokerorder_open"),
            models.Index(fields=["account", "order_timestamp"], name="orders_brokerorder_day"),
        ]

    def __str__(self) -> str:
        return f"{self.order_id} {self.status}"

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL


class OrderBook(models.Model):
    """The latest whole reading of an account's order book. Until there is one of today, nothing is sent."""

    account = models.OneToOneField(TradingAccount, on_delete=models.CASCADE, related_name="order_book")
    trading_date = models.DateField()
    read_at = models.DateTimeField()
    orders = models.PositiveIntegerField()
    is_stale = models.BooleanField(default=False, help_text="The last reading lacked orders that are known.")
    lacks = ArrayField(models.CharField(max_length=20), default=list, help_text="Those orders.")

    def __str__(self) -> str:
        return f"book of {self.account}, {self.trading_date}"


class SenderProcess(models.Model):
    """A process that sends orders. Only `orders.senders` writes it; its end is proof that it sends no more."""

    name = models.CharField(max_length=80, unique=True, help_text="Host, pid and a random incarnation.")
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.CharField(max_length=100, blank=True, help_text="Who said so: itself, or a person's command.")

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return self.name


class TradingState(models.Model):
    """The kill switch: whether orders may go out, for everything, one account or one strategy."""

    class State(models.TextChoices):
        ACTIVE = "active"
        REDUCING = "reducing", "exits only"
        HALTED = "halted"

    account = models.ForeignKey(
        TradingAccount, on_delete=models.CASCADE, null=True, blank=True, related_name="trading_states"
    )
    strategy = models.CharField(max_length=50, blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.ACTIVE)
    reason = models.CharField(max_length=300, blank=True)
    set_by = models.CharField(max_length=100, blank=True)
    set_at = models.DateTimeField(db_default=Now())
    epoch = models.PositiveIntegerField(default=0, help_text="Grows with each change.")

    class Meta:
        constraints = [
            # Of everything, of an account, of an account's strategy: one row each.
            models.UniqueConstraint(fields=["account", "strategy"], name="orders_state_scope", nulls_distinct=False),
            models.CheckConstraint(
                condition=Q(account__isnull=False) | Q(strategy=""), name="orders_state_strategy_of_account"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account or 'everything'}{f' {self.strategy}' if self.strategy else ''}: {self.state}"

"""What the broker tells of an account besides its orders: trades, positions, and postbacks to be looked into."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import TradingAccount


class Trade(models.Model):
    """One fill. Only `orders.trade_sync` writes it, and never changes it: what was traded, was traded."""

    account = models.ForeignKey(TradingAccount, on_delete=models.PROTECT, related_name="trades")
    exchange = models.CharField(max_length=10)
    order_id = models.CharField(max_length=20)
    trade_id = models.CharField(max_length=40)
    exchange_order_id = models.CharField(max_length=40, blank=True)
    tradingsymbol = models.CharField(max_length=64)
    product = models.CharField(max_length=10)
    transaction_type = models.CharField(max_length=4)
    quantity = models.PositiveBigIntegerField()
    price = models.DecimalField(max_digits=14, decimal_places=4)
    traded_at = models.DateTimeField(null=True, blank=True, help_text="At the exchange.")
    trading_date = models.DateField(help_text="In India.")
    first_seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-trading_date", "-traded_at", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["account", "exchange", "order_id", "trade_id"], name="orders_trade_once"),
            models.CheckConstraint(condition=Q(transaction_type__in=["BUY", "SELL"]), name="orders_trade_side"),
        ]
        indexes = [models.Index(fields=["account", "trading_date"], name="orders_trade_day")]

    def __str__(self) -> str:
        return f"{self.transaction_type} {self.quantity} {self.tradingsymbol} at {self.price}"


class Position(models.Model):
    """What the account holds of an instrument in a product: carried from before and traded today, as last read.

    Quantities count units, negative where sold; values are rupees, the multiplier in them. Written by
    `orders.trade_sync`, all of an account's at once.
    """

    account = models.ForeignKey(TradingAccount, on_delete=models.CASCADE, related_name="positions")
    exchange = models.CharField(max_length=10)
    tradingsymbol = models.CharField(max_length=64)
    product = models.CharField(max_length=10)
    instrument_token = models.PositiveBigIntegerField(default=0)
    quantity = models.BigIntegerField()
    overnight_quantity = models.BigIntegerField(default=0)
    multiplier = models.DecimalField(max_digits=12, decimal_places=4, default=1)
    average_price = models.DecimalField(max_digits=14, decimal_places=4, default=0)
    close_price = models.DecimalField(max_digits=14, decimal_places=4, default=0)
    last_price = models.DecimalField(max_digits=14, decimal_places=4, default=0, help_text="The broker's, then.")
    buy_quantity = models.PositiveBigIntegerField(default=0)
    buy_value = models.DecimalField(max_digits=20, decimal_places=4, default=0)
    sell_quantity = models.PositiveBigIntegerField(default=0)
    sell_value = models.DecimalField(max_digits=20, decimal_places=4, default=0)
    day_buy_quantity = models.PositiveBigIntegerField(default=0)
    day_buy_value = models.DecimalField(max_digits=20, decimal_places=4, default=0)
    day_sell_quantity = models.PositiveBigIntegerField(default=0)
    day_sell_value = models.DecimalField(max_digits=20, decimal_places=4, default=0)
    value = models.DecimalField(max_digits=20, decimal_places=4, default=0, help_text="Sold less bought.")
    pnl = models.DecimalField(max_digits=20, decimal_places=4, default=0, help_text="The broker's, then.")
    m2m = models.DecimalField(max_digits=20, decimal_places=4, default=0, help_text="Of today; the broker's, then.")
    read_at = models.DateTimeField()

    class Meta:
        ordering = ["exchange", "tradingsymbol", "product"]
        constraints = [
            models.UniqueConstraint(
                fields=["account", "exchange", "tradingsymbol", "product"], name="orders_position_key"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} {self.exchange}:{self.tradingsymbol} {self.product}"

    @property
    def key(self) -> tuple[str, str, str]:
        return self.exchange, self.tradingsymbol, self.product

    @property
    def day_quantity(self) -> int:
        """What today's trades have changed."""
        return self.day_buy_quantity - self.day_sell_quantity


class PortfolioReading(models.Model):
    """When an account's trades and positions were last read whole, and when they should be again.

    `read_at` is a moment before the reading: what the broker did until then is in it.
    """

    account = models.OneToOneField(TradingAccount, on_delete=models.CASCADE, related_name="portfolio_reading")
    trading_date = models.DateField(null=True, blank=True)
    read_at = models.DateTimeField(null=True, blank=True)
    tried_at = models.DateTimeField(null=True, blank=True)
    wanted_at = models.DateTimeField(null=True, blank=True, help_text="What was read before this moment is not enough.")
    asked_at = models.DateTimeField(null=True, blank=True, help_text="When somebody last asked for a reading.")
    failed_at = models.DateTimeField(null=True, blank=True)
    failure = models.CharField(max_length=500, blank=True)
    doubts = ArrayField(
        models.CharField(max_length=200), default=list, help_text="Why the broker's last answer was not believed."
    )
    doubted_at = models.DateTimeField(null=True, blank=True, help_text="Since when it has answered so.")
    holdings = models.JSONField(null=True, blank=True)
    holdings_read_at = models.DateTimeField(null=True, blank=True)
    funds = models.JSONField(null=True, blank=True)
    funds_read_at = models.DateTimeField(null=True, blank=True)
    news_read_at = models.DateTimeField(null=True, blank=True, help_text="When postbacks were last looked into.")

    def __str__(self) -> str:
        return f"portfolio of {self.account}, read {self.read_at}"

    @staticmethod
    def want(account: TradingAccount) -> None:
        """Say that the account's portfolio is not any more what it was when it was last read."""
        PortfolioReading.objects.bulk_create(
            [PortfolioReading(account=account, wanted_at=Now())],
            update_conflicts=True,
            unique_fields=["account"],
            update_fields=["wanted_at"],
        )


class Postback(models.Model):
    """What the broker posted about an order, kept once. Nothing of it is believed but that the order is to be read."""

    account = models.ForeignKey(TradingAccount, on_delete=models.CASCADE, related_name="postbacks")
    order_id = models.CharField(max_length=20)
    order_timestamp = models.CharField(max_length=40, help_text="As in the body: the checksum covers it.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the body.")
    status = models.CharField(max_length=40, blank=True, help_text="What it claims. Not authenticated.")
    received_at = models.DateTimeField(db_default=Now())
    read_at = models.DateTimeField(null=True, blank=True, help_text="When its order was read from the broker.")
    tries = models.PositiveSmallIntegerField(default=0)
    failure = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["account", "order_id", "order_timestamp", "digest"], name="orders_postback_once"
            ),
        ]
        indexes = [
            models.Index(fields=["account"], condition=Q(read_at__isnull=True), name="orders_postback_waiting"),
            models.Index(fields=["received_at"], name="orders_postback_age"),
        ]

    def __str__(self) -> str:
        return f"postback about {self.order_id}"

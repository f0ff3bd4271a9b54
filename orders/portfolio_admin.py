"""What the broker has told, in the admin: to be read, and changed by nobody."""

from django.contrib import admin

from accounts.read_only_admin import ReadOnlyAdmin
from orders.models import PortfolioReading, Position, Postback, Trade


class _AsTold(ReadOnlyAdmin):
    list_select_related = ["account"]


@admin.register(Trade)
class TradeAdmin(_AsTold):
    list_display = ["traded_at", "account", "transaction_type", "quantity", "tradingsymbol", "price", "order_id"]
    list_filter = ["account", "exchange", "trading_date"]
    search_fields = ["=order_id", "tradingsymbol"]


@admin.register(Position)
class PositionAdmin(_AsTold):
    list_display = ["account", "tradingsymbol", "product", "quantity", "average_price", "pnl", "read_at"]
    list_filter = ["account", "product"]
    search_fields = ["tradingsymbol"]


@admin.register(PortfolioReading)
class PortfolioReadingAdmin(_AsTold):
    list_display = ["account", "read_at", "wanted_at", "failed_at", "failure", "doubts"]


@admin.register(Postback)
class PostbackAdmin(_AsTold):
    """`status` is what it claims."""

    list_display = ["received_at", "account", "order_id", "status", "read_at", "tries", "failure"]
    list_filter = ["account", "status"]
    search_fields = ["=order_id"]

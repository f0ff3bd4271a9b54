"""The pages' addresses."""

from datetime import date

from django.urls import path, register_converter

from dashboard import (
    account_views,
    calendar_views,
    change_views,
    feed_views,
    key_views,
    orders_views,
    positions_views,
    ticket_views,
    trading_views,
    views,
)


class IsoDate:
    """`2026-12-01` in an address."""

    regex = r"\d{4}-\d{2}-\d{2}"

    def to_python(self, value: str) -> date:
        return date.fromisoformat(value)  # a ValueError means that the address matches nothing

    def to_url(self, value: date) -> str:
        return value.isoformat()


class Word:
    """Text of the form `regex` in an address, taken as it is."""

    regex: str

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


class KiteUserId(Word):
    """`AB1234`."""

    regex = r"[A-Z0-9]{4,12}"


class KeyId(Word):
    """`k3x9q1ab`."""

    regex = r"[a-z0-9]{8}"


class OrderId(Word):
    """The broker's: `261125000000001`."""

    regex = r"[0-9]{1,20}"


register_converter(IsoDate, "iso_date")
register_converter(KiteUserId, "kite_user_id")
register_converter(KeyId, "key_id")
register_converter(OrderId, "order_id")

app_name = "dashboard"
urlpatterns = [
    path("", views.home, name="home"),
    path("chain/<str:underlying>/<iso_date:expiry>/", views.chain, name="chain"),
    path("accounts/", account_views.accounts, name="accounts"),
    path("accounts/<kite_user_id:kite_user_id>/", account_views.account, name="account"),
    path("feed/", feed_views.feed, name="feed"),
    path("positions/", positions_views.positions, name="positions"),
    path("calendar/", calendar_views.month, name="calendar"),
    path("settings/keys/", key_views.keys, name="keys"),
    path("settings/keys/<key_id:key_id>/replace/", key_views.replace, name="replace-key"),
    path("settings/keys/<key_id:key_id>/revoke/", key_views.revoke, name="revoke-key"),
    path("orders/", orders_views.orders, name="orders"),
    path("orders/new/", orders_views.new, name="new-order"),
    path("orders/<uuid:task_id>/", orders_views.order, name="order"),
    path("orders/<uuid:task_id>/cancel/", orders_views.cancel_order, name="cancel-order"),
    path("orders/<uuid:task_id>/decide/", orders_views.decide, name="decide-order"),
    path("orders/<uuid:task_id>/seen/", orders_views.seen, name="seen-order"),
    path("orders/<uuid:task_id>/change/", change_views.change, name="change-order"),
    path(
        "accounts/<uuid:public_id>/orders/<order_id:order_id>/change/",
        change_views.change_external,
        name="change-external-order",
    ),
    path(
        "accounts/<uuid:public_id>/orders/<order_id:order_id>/cancel/",
        orders_views.cancel_external,
        name="cancel-external-order",
    ),
    path("ticket/contract/", ticket_views.contract, name="ticket-contract"),
    path("ticket/search/", ticket_views.search, name="ticket-search"),
    path("session/<str:exchange>/", views.session, name="session"),
    path("trading/", trading_views.trading, name="trading"),
    path("trading/notices/", trading_views.notices, name="trading-notices"),
    path("trading/consequences/", trading_views.consequences, name="trading-consequences"),
    path("trading/halt/", trading_views.halt, name="halt"),
    path("trading/resume/", trading_views.resume, name="resume"),
]

"""The pages' addresses."""

from datetime import date

from django.urls import path, register_converter

from dashboard import account_views, key_views, positions_views, trading_views, views


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


register_converter(IsoDate, "iso_date")
register_converter(KiteUserId, "kite_user_id")
register_converter(KeyId, "key_id")

app_name = "dashboard"
urlpatterns = [
    path("", views.home, name="home"),
    path("chain/<str:underlying>/<iso_date:expiry>/", views.chain, name="chain"),
    path("accounts/", account_views.accounts, name="accounts"),
    path("accounts/<kite_user_id:kite_user_id>/", account_views.account, name="account"),
    path("positions/", positions_views.positions, name="positions"),
    path("settings/keys/", key_views.keys, name="keys"),
    path("settings/keys/<key_id:key_id>/replace/", key_views.replace, name="replace-key"),
    path("settings/keys/<key_id:key_id>/revoke/", key_views.revoke, name="revoke-key"),
    path("session/<str:exchange>/", views.session, name="session"),
    path("trading/", trading_views.trading, name="trading"),
    path("trading/notices/", trading_views.notices, name="trading-notices"),
    path("trading/consequences/", trading_views.consequences, name="trading-consequences"),
    path("trading/halt/", trading_views.halt, name="halt"),
    path("trading/resume/", trading_views.resume, name="resume"),
]

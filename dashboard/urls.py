"""The pages' addresses."""

from datetime import date

from django.urls import path, register_converter

from dashboard import account_views, views


class IsoDate:
    """`2026-12-01` in an address."""

    regex = r"\d{4}-\d{2}-\d{2}"

    def to_python(self, value: str) -> date:
        return date.fromisoformat(value)  # a ValueError means that the address matches nothing

    def to_url(self, value: date) -> str:
        return value.isoformat()


class KiteUserId:
    """`AB1234` in an address."""

    regex = r"[A-Z0-9]{4,12}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(IsoDate, "iso_date")
register_converter(KiteUserId, "kite_user_id")

app_name = "dashboard"
urlpatterns = [
    path("", views.home, name="home"),
    path("chain/<str:underlying>/<iso_date:expiry>/", views.chain, name="chain"),
    path("accounts/", account_views.accounts, name="accounts"),
    path("accounts/<kite_user_id:kite_user_id>/", account_views.account, name="account"),
    path("session/<str:exchange>/", views.session, name="session"),
]

"""The pages' addresses."""

from datetime import date

from django.urls import path, register_converter

from dashboard import views


class IsoDate:
    """`2026-12-01` in an address."""

    regex = r"\d{4}-\d{2}-\d{2}"

    def to_python(self, value: str) -> date:
        return date.fromisoformat(value)  # a ValueError means that the address matches nothing

    def to_url(self, value: date) -> str:
        return value.isoformat()


register_converter(IsoDate, "iso_date")

app_name = "dashboard"
urlpatterns = [
    path("", views.home, name="home"),
    path("chain/<str:underlying>/<iso_date:expiry>/", views.chain, name="chain"),
    path("session/<str:exchange>/", views.session, name="session"),
]

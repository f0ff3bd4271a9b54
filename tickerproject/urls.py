"""Every route of the service. Each is behind `accounts.authorisation`, or says here why it is open."""

from django.contrib import admin
from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from orders.postback_views import take_postback
from tickerproject import health, metrics

urlpatterns = [
    # open: they tell no more than whether the service works, and machines ask them
    path("health", health.health, name="health"),
    path("health/live", health.live, name="health-live"),
    # open: the broker has no key of ours; what its app's secret has not signed is not kept
    re_path(r"^hooks/kite/(?P<slug>[A-Za-z0-9_-]{16,43})$", take_postback, name="kite-postback"),
    path("admin/", admin.site.urls),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("metrics", metrics.metrics, name="metrics"),
    path("api/v1/", include("market.urls")),
    path("api/v1/", include("streaming.urls")),
    path("api/v1/", include("orders.urls")),
    path("orders/", include("orders.legacy_urls")),
    path("", include("accounts.urls")),
    path("", include("dashboard.urls")),
]

# The one error shape for programs, pages for people, wherever the error came from.
handler400 = "tickerproject.api.errors.bad_request"
handler403 = "tickerproject.api.errors.permission_denied"
handler404 = "tickerproject.api.errors.not_found"
handler500 = "tickerproject.api.errors.server_error"

"""Every route of the service. Each is behind `accounts.authorisation`, or says here why it is open."""

import importlib.util

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from tickerproject import health, metrics


def _there(module: str) -> bool:  # TODO lead: goes when every app has its urls
    return importlib.util.find_spec(module) is not None


urlpatterns = [
    # open: they tell no more than whether the service works, and machines ask them
    path("health", health.health, name="health"),
    path("health/live", health.live, name="health-live"),
    path("admin/", admin.site.urls),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("metrics", metrics.metrics, name="metrics"),
    *(path("api/v1/", include(f"{app}.urls")) for app in ("market", "streaming") if _there(f"{app}.urls")),
    *(path("", include(f"{app}.urls")) for app in ("accounts", "dashboard") if _there(f"{app}.urls")),
]

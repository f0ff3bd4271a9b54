"""Paths of the first generation."""

from django.urls import path

from orders.legacy_views import LegacyOrderViewSet

urlpatterns = [
    path("place", LegacyOrderViewSet.as_view({"post": "create"}), name="legacy-place"),
    path("modify", LegacyOrderViewSet.as_view({"post": "modify"}), name="legacy-modify"),
    path("cancel", LegacyOrderViewSet.as_view({"post": "cancel"}), name="legacy-cancel"),
]

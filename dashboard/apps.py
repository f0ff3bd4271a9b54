"""The app's entry."""

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    """Pages for people."""

    name = "dashboard"

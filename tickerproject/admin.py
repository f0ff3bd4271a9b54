"""What the admin shows of the whole project."""

from django.conf import settings
from django.http import HttpRequest


def environment_badge(request: HttpRequest) -> list[str]:
    """The word and colour in the admin's corner: nobody should take a simulated market for a real one."""
    if settings.FEED_SOURCE != "live":
        return [settings.FEED_SOURCE.capitalize(), "warning"]
    return [settings.ENVIRONMENT.capitalize(), "danger" if settings.PRODUCTION else "info"]

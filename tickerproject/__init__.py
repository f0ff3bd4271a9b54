"""Wires the apps together: settings, URLs, ASGI, Celery, and the one-machine run. No app imports it."""

from tickerproject.celery import app as celery_app

__all__ = ["celery_app"]

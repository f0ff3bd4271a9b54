"""The settings for tools that need no server: mypy's Django plugin, `makemigrations --check`."""

from tickerproject.testing import environment

environment.fill()

from tickerproject.settings import *  # noqa: E402, F403

# These tools ask no database, and would wait for one that is not there.
DATABASES = {"default": {"ENGINE": "django.db.backends.dummy"}}

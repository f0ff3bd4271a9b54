"""The settings for tools that need no server: mypy's Django plugin, `makemigrations --check`."""

from tickerproject.testing import environment

environment.fill()

from tickerproject.settings import *  # noqa: E402, F403

"""System checks: the service must not start with secrets it cannot keep or cannot open."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections

from accounts.budget_limits import limit_problems
from accounts.credentials import ring_problems, unreadable_secrets
from accounts.jwks import jwt_problems
from accounts.models import BrokerCredential
from accounts.user_service import user_service_problems


@register(Tags.security)
def key_ring(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """CREDENTIAL_KEYS holds proper keys of its own."""
    return [
        Error(
            problem,
            hint="Fernet.generate_key() makes one; it belongs in the environment.",
            id="accounts.E001",
        )
        for problem in ring_problems(list(settings.CREDENTIAL_KEYS), settings.SECRET_KEY)
    ]


@register()
def budgets(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """No budget passes the broker's own limits. It would be held to them all the same, and mean something else."""
    return [Error(problem, id="accounts.E003") for problem in limit_problems(settings)]


@register(Tags.security)
def tokens(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """JWTs and the user service are off, or all that has to be pinned is."""
    return [
        Error(problem, id="accounts.E003") for problem in (*jwt_problems(settings), *user_service_problems(settings))
    ]


@register(Tags.database)
def stored_secrets_open(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Every stored secret opens with the ring. Runs with `check --database default` and `migrate`."""
    if not databases or "default" not in databases or ring_problems(list(settings.CREDENTIAL_KEYS), ""):
        return []
    with connections["default"].cursor() as cursor:
        if BrokerCredential._meta.db_table not in connections["default"].introspection.table_names(cursor):
            return []  # before the first migration
    return [Error(problem, id="accounts.E002") for problem in unreadable_secrets()]

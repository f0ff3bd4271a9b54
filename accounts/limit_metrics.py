"""Budgets, breakers and places as they stand in Redis, read when Prometheus asks.

They belong to the installation and not to a process, so a gauge that a process sets would go stale with its last call.
What nobody can tell, because Redis is away, has no sample.
"""

import logging
from collections.abc import Iterator

from django.db import DatabaseError
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from accounts.breaker import BreakerState, breaker_names, states
from accounts.broker.places import calls_under_way
from accounts.budget_meters import data_meters, order_meters
from accounts.models import KiteApp, TradingAccount

logger = logging.getLogger(__name__)

_STATE_NUMBER = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


class LimitsCollector(Collector):
    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing: the registry would otherwise collect once to learn the names, before there is a database."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        labels = ["owner", "route_class", "window"]
        used = GaugeMetricFamily("broker_budget_used", "Calls in the window now", labels=labels)
        limit = GaugeMetricFamily("broker_budget_limit", "Calls that the window allows", labels=labels)
        breakers = GaugeMetricFamily("broker_breaker_state", "0 closed, 1 half open, 2 open", labels=["breaker"])
        under_way = GaugeMetricFamily("broker_calls_under_way", "Calls of the account now", labels=["owner"])
        try:
            accounts, apps = list(TradingAccount.objects.enabled()), list(KiteApp.objects.all())
            meters = [meter for account in accounts for meter in order_meters(account)]
        except DatabaseError as exc:
            logger.warning("metrics: the accounts cannot be read: %s", exc)
            return
        meters += [meter for app in apps for meter in data_meters(app)]
        for meter in meters:
            values = [meter.owner, str(meter.route_class), meter.window]
            limit.add_metric(values, meter.limit)
            if meter.used is not None:
                used.add_metric(values, meter.used)
        for account in accounts:
            for name, state in states(breaker_names(account.kite_user_id)).items():
                breakers.add_metric([name], _STATE_NUMBER[state])
            under_way.add_metric([account.kite_user_id], calls_under_way(account.kite_user_id))
        yield from (used, limit, breakers, under_way)


LIMITS_REGISTRY = CollectorRegistry()
LIMITS_REGISTRY.register(LimitsCollector())

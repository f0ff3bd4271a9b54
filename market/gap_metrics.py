"""The ledger of the feed's outages as figures, counted when Prometheus asks: of the installation, whoever answers."""

import logging
from collections.abc import Iterator
from datetime import datetime, time

from django.db import DatabaseError
from django.db.models import Count, Sum
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from accounts import clock
from accounts.clock import IST
from market.gap_models import FeedGap

logger = logging.getLogger(__name__)

Status = FeedGap.Status
UNSETTLED = (Status.OPEN, Status.CLOSED)


class GapsCollector(Collector):
    def describe(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Nothing: the registry would otherwise collect once to learn the names, before there is a database."""
        return iter(())

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        midnight = datetime.combine(clock.today(), time(), IST)
        try:
            found = FeedGap.objects.filter(status__in=UNSETTLED).order_by().values_list("status").annotate(Count("pk"))
            unsettled = dict(found)
            of_today = FeedGap.objects.filter(started_at__gte=midnight)
            today = of_today.aggregate(gaps=Count("pk"), bars=Sum("bars_refilled", default=0))
        except DatabaseError as exc:
            logger.warning("metrics: the ledger of gaps cannot be read: %s", exc)
            return
        gaps = GaugeMetricFamily("feed_gaps", "Outages that go on (open) or are to be refilled", labels=["status"])
        for status in UNSETTLED:
            gaps.add_metric([status], unsettled.get(status, 0))
        yield gaps
        yield CounterMetricFamily("feed_gaps_of_today", "Outages that began today", value=today["gaps"])
        yield CounterMetricFamily("feed_gap_bars_refilled", "Bars refilled of outages of today", value=today["bars"])


GAPS_REGISTRY = CollectorRegistry()
GAPS_REGISTRY.register(GapsCollector())

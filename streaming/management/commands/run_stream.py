"""`manage.py run_stream`: the broker's ticks to Redis, until it is told to stop."""

import asyncio
import logging
import os
import signal
import socket
import sys
from typing import Any

import uvloop
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError
from prometheus_client import REGISTRY, start_http_server

from accounts import clock
from market.names import RedisNames
from streaming.connection import Dial, Timing, kite_dial
from streaming.desired import next_epoch
from streaming.leases import LeaseTiming, SlotLeases
from streaming.metrics import STREAM_REGISTRY
from streaming.packet_fields import DEPTH_LEVELS
from streaming.pipeline import TickPipeline
from streaming.supervisor import StreamOptions, StreamProcess
from streaming.tasks import ring_for_last_session

logger = logging.getLogger(__name__)

METRICS_PORTS = 10
SWITCH_SECONDS = 0.0005
"""For how long another thread may keep the interpreter from the event loop, each time the loop lets go of it: looks go
through all subscriptions in a thread. By default it is ten times as much."""


class Command(BaseCommand):
    help = (
        "Stream ticks from the broker: decode, check, price and publish them. Start as many as you like: they share "
        "the accounts' sockets, and take over from each other."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        timing = Timing(silence=settings.STREAM_LINK_SILENCE_SECONDS)
        try:
            dial = kite_dial(settings.KITE_WS_ROOT, timing)
        except ValueError as exc:
            raise CommandError(str(exc)) from None
        if settings.FEED_SOURCE == "live" and not settings.KITE_WS_ROOT.startswith("wss://"):
            raise CommandError(
                "KITE_WS_ROOT must begin with wss:// when FEED_SOURCE is live: the address holds the token"
            )
        if not 1 <= settings.STREAM_DEPTH_LEVELS <= DEPTH_LEVELS:
            raise CommandError(f"STREAM_DEPTH_LEVELS must be 1 to {DEPTH_LEVELS}: more the broker does not send")
        if settings.STREAM_METRICS_PORT:
            _serve_metrics(settings.STREAM_METRICS_PORT)
        stream_options = StreamOptions(
            redis_url=settings.REDIS_URL,
            names=RedisNames(settings.REDIS_PREFIX),
            source=settings.FEED_SOURCE,
            process=f"{socket.gethostname()}-{os.getpid()}",
            window=settings.STREAM_WINDOW_MS / 1000,
            window_packets=settings.STREAM_WINDOW_PACKETS,
            stale=settings.STREAM_STALE_SECONDS,
            timing=timing,
        )
        try:
            leases = LeaseTiming.of(settings.STREAM_LEASE_SECONDS, settings.STREAM_DRAIN_SECONDS)
        except ValueError as exc:
            raise CommandError(f"STREAM_LEASE_SECONDS and STREAM_DRAIN_SECONDS: {exc}") from None
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            uvloop.run(self._run(stream_options, dial, leases))
        except OperationalError as exc:
            raise CommandError(f"PostgreSQL does not answer: {exc}") from None

    async def _run(self, stream_options: StreamOptions, dial: Dial, timing: LeaseTiming) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        pipeline = TickPipeline(
            source=stream_options.source,
            epoch=await database_sync_to_async(next_epoch)(),
            market_time=lambda: clock.now().timestamp(),
            depth_levels=settings.STREAM_DEPTH_LEVELS,
        )
        leases = SlotLeases(
            settings.DATABASES["default"],
            stream_options.process,
            timing,
            is_single=settings.STREAM_SINGLE_INSTANCE,
        )
        await leases.renew()  # whoever looks first finds itself among the living
        process = StreamProcess(
            stream_options,
            dial=dial,
            pipeline=pipeline,
            leases=leases,
            layer=get_channel_layer() if settings.STREAM_CHANNELS_GROUPS else None,
            bootstrap=ring_for_last_session,
        )
        await process.run(stop)


def _serve_metrics(port: int) -> None:
    """On the first free of a few ports, so that several processes of one machine have one each."""
    REGISTRY.register(STREAM_REGISTRY)
    for candidate in range(port, port + METRICS_PORTS):
        try:
            start_http_server(candidate, addr="127.0.0.1")
        except OSError as exc:
            failure = exc
        else:
            logger.info("metrics are at http://127.0.0.1:%d/metrics", candidate)
            return
    raise CommandError(f"STREAM_METRICS_PORT {port}, and {METRICS_PORTS - 1} from there on, cannot be used: {failure}")

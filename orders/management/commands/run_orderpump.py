import logging
import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import Error as DatabaseError
from django.db import close_old_connections

from orders import postbacks, sweep, trade_sync
from orders.execute import drain, may_send
from orders.metrics import DOORBELL_MISSED
from orders.senders import end_this_process

logger = logging.getLogger(__name__)

PASS_SECONDS = 1.0
LEFT_TO_WORKERS_SECONDS = 3.0
READINGS_LEFT_TO_WORKERS_SECONDS = 15.0


class Command(BaseCommand):
    help = (
        "Carry out orders that no worker has taken within three seconds, and end what is over: without Celery and "
        "without Redis. One process; more do no harm."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="one pass, then end")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        stopping = threading.Event()
        if not once:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stopping.set())
        logger.info("the order pump works")
        while not stopping.is_set():
            try:
                self._pass()
            except DatabaseError as exc:
                logger.warning("the database does not answer, looking again: %s", exc)
            close_old_connections()
            if once:
                break
            stopping.wait(PASS_SECONDS)
        end_this_process()

    def _pass(self) -> None:
        sweep.sweep()
        for account in sweep.accounts_with_work(waiting_seconds=LEFT_TO_WORKERS_SECONDS):
            if may_send(account) and (done := drain(account, seconds=5)):
                DOORBELL_MISSED.inc(done)
        sweep.reconcile_all()
        postbacks.read_all_waiting(waiting_seconds=LEFT_TO_WORKERS_SECONDS)
        trade_sync.sync_due(waiting_seconds=READINGS_LEFT_TO_WORKERS_SECONDS)

"""Structured logs with request ids, and the redaction that every line passes, whoever wrote it.

What a secret looks like is written in `accounts.redaction`; here that is applied to the rendered line, exception text
included.
"""

import logging
import re
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from accounts.redaction import HIDDEN, names_a_secret, redact

# What our own ids look like, and a request id is 32 hexadecimal characters by design.
_KEPT_FIELDS = ("request_id", "timestamp", "level", "logger")
_OF_MANY_LINES = ("exception", "stack")
LONGEST_FIELD, LONGEST_TRACE = 4000, 40_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _redact_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The last processor before rendering: every value that is not one of our own fields is redacted as text."""
    for field, value in event.items():
        if field in _KEPT_FIELDS or isinstance(value, (bool, int, float, type(None))):
            continue
        if names_a_secret(field):
            event[field] = HIDDEN
            continue
        text = redact(value if isinstance(value, str) else repr(value))
        event[field] = text[:LONGEST_TRACE] if field in _OF_MANY_LINES else _one_line(text)[:LONGEST_FIELD]
    return event


def _one_line(text: str) -> str:
    """Without what moves a terminal's cursor or begins a line of its own: nobody outside writes lines into our logs."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
)


def _formatter(form: str) -> structlog.stdlib.ProcessorFormatter:
    last: list[Processor]
    if form == "console":
        stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        last = [structlog.dev.ConsoleRenderer(colors=False, pad_level=False, sort_keys=False)]
    else:
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        last = [structlog.processors.JSONRenderer()]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=(stamp, *_SHARED),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _redact_event,
            *last,
        ],
    )


def logging_configuration(*, level: str, form: str) -> dict[str, Any]:
    """The `dictConfig` of every process: one line an event on standard output, redacted.

    Parameters
    ----------
    level : the least severe level that is shown.
    form : `json` for machines, `console` for people.
    """
    # Celery tells of each task thrice; those that come every two seconds would be most of the log. Failures are errors.
    chatty = ("websockets", "urllib3", "aiohttp.access", "daphne", "asyncio")
    celery = ("celery.beat", "celery.app.trace", "celery.worker.strategy")
    quiet = {name: {"level": "WARNING"} for name in (*chatty, *celery)}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"event": {"()": _formatter, "form": form}},
        "handlers": {
            "stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "event"},
        },
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            **quiet,
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.server": {"handlers": [], "level": "WARNING", "propagate": True},
            "django.request": {"handlers": [], "level": "ERROR", "propagate": True},
            "celery.redirected": {"level": "WARNING"},
        },
    }


def setup_plain_logging(level: int = logging.INFO) -> None:
    """For programs that run without Django (the supervisor): the same redacted lines, for people."""
    handler = logging.StreamHandler()
    handler.setFormatter(_formatter("console"))
    logging.basicConfig(level=level, handlers=[handler], force=True)

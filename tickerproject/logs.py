"""Structured logs with request ids, and the redaction that every line passes, whoever wrote it.

Redaction works on the rendered line, exception text included, because a filter on arguments misses what is already in
a message. It must not eat order ids (15 to 19 digits) or instrument tokens, which are what people search logs for.
"""

import logging
import re
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN = "***"
_NAMED_FIELD = (
    r"access_token|request_token|refresh_token|public_token|api_secret|checksum|enctoken|password|twofa_value|totp(?:_seed)?"
    r"|secret(?:_key)?|authorization|x-api-key|cookie|sessionid|ticker_session|csrftoken"
)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b(authorization['\"]?\s*[:=]\s*['\"]?)(?:bearer|token|basic)?\s*[^\s,;'\"}]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(token\s+)[a-z0-9]{4,}:[A-Za-z0-9]{4,}"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)\b({_NAMED_FIELD})((?:\\?['\"])?\s*[:=]\s*(?:\\?['\"])?)[^\s,;&'\"}}\\]+"), rf"\1\2{HIDDEN}"),
    (re.compile(r"\bkts_[a-z]+_[A-Za-z0-9]{4,12}_[A-Za-z0-9_-]{16,}"), HIDDEN),
    (re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), HIDDEN),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+@"), rf"\1{HIDDEN}@"),
    (re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z]{2,}(?:\.[A-Za-z]{2,})*"), HIDDEN),
    (re.compile(r"(?<![\w.])(?:\+?91[-\s]?)?[6-9]\d{9}(?![\w.])"), HIDDEN),
    (re.compile(r"\b[A-Z]{5}\d{4}[A-Z]\b"), HIDDEN),
    # Long random text: at least 32 characters with both letters and digits, which spares ids and plain words.
    (re.compile(r"(?<![\w/.-])(?=[\w+/=-]*\d)(?=[\w+/=-]*[A-Za-z])(?!0x)[A-Za-z0-9+_-]{32,}={0,2}(?![\w/.-])"), HIDDEN),
)
# What our own ids look like, and a request id is 32 hexadecimal characters by design.
_KEPT_FIELDS = ("request_id", "timestamp", "level", "logger")


def redact(text: str) -> str:
    """`text` with everything that looks like a secret or a person's data replaced by `***`."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _redact_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The last processor before rendering: every value that is not one of our own fields is redacted as text."""
    for field, value in event.items():
        if field in _KEPT_FIELDS or isinstance(value, (bool, int, float, type(None))):
            continue
        if re.fullmatch(rf"(?i){_NAMED_FIELD}", field):
            event[field] = HIDDEN
        else:
            event[field] = redact(value if isinstance(value, str) else repr(value))
    return event


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
    quiet = {
        name: {"level": "WARNING"}
        for name in ("websockets", "httpcore", "urllib3", "aiohttp.access", "daphne", "asyncio")
    }
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

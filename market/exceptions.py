"""What can go wrong in `market`. One class for each thing a caller would do differently."""

from collections.abc import Sequence
from datetime import date
from http import HTTPStatus
from typing import Any

from accounts.exceptions import Refused

MOST_PROBLEMS = 100


class MarketError(Exception):
    """Base of everything that `market` raises on purpose."""


class CalendarMissing(MarketError):
    """Nobody has said whether, or when, this market trades that day. Never to be read as "closed"."""

    def __init__(self, exchange: str, segment: str, day: date) -> None:
        self.exchange, self.segment, self.day = exchange, segment, day
        super().__init__(
            f"the market calendar says nothing about {exchange} {segment} on {day:%Y-%m-%d}: add the exchange's list "
            f"for {day:%Y} to the session files and run `manage.py load_calendar`, or enter the day in the admin"
        )


class SessionsFileInvalid(MarketError):
    """A row of the sessions files cannot be read; the message names the file and the line."""


class HolidayListInvalid(MarketError):
    """It is not an exchange's whole list of one year; the message says why, and where."""


class InstrumentsRefused(MarketError):
    """The dump as a whole cannot be believed: nothing was changed."""


class ImportAlreadyRunning(MarketError):
    """Another process is importing instruments at this moment."""


class NoAccountForData(MarketError):
    """There is no account through which the broker could be asked."""


class PricesUnavailable(MarketError, Refused):
    """Redis, which holds the current prices, does not answer."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    code = "unavailable"
    default_message = "Current prices cannot be read now; try again."


class QuotesUnavailable(MarketError, Refused):
    """Neither stream nor broker says anything of any of the instruments. The details name them, with the reason."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    code = "unavailable"
    default_message = "No quotes can be had now; try again."


class WorkersUnreachable(MarketError, Refused):
    """What carries work to the workers does not answer."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    code = "unavailable"
    default_message = "The workers cannot be reached now; try again."


class CandlesUnavailable(MarketError, Refused):
    """Nothing of a range is stored, and the broker could not be asked. The details say which days are missing."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    code = "candles_unavailable"
    default_message = "These candles are not stored, and the broker cannot be asked for them now."


class InputInvalid(MarketError, Refused):
    """A request that makes no sense, which only became plain with what is known here. The details are by field."""

    code = "invalid_input"
    default_message = "The input is not valid."


class RowsInvalid(InputInvalid):
    """Rows of a request that make no sense. The details name the first of them by index and field."""

    def __init__(self, name: str, problems: Sequence[tuple[int, str, str]]) -> None:
        found: list[dict[str, Any]] = [
            {"index": index, "field": field, "message": message} for index, field, message in problems[:MOST_PROBLEMS]
        ]
        super().__init__(details={name: found, "problems": len(problems)})


class ParquetUnavailable(MarketError):
    """Parquet needs a library that is not installed; the message says which, and how to get it."""

"""What can go wrong in `market`. One class for each thing a caller would do differently."""

from datetime import date


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


class InstrumentsRefused(MarketError):
    """The dump as a whole cannot be believed: nothing was changed."""


class ImportAlreadyRunning(MarketError):
    """Another process is importing instruments at this moment."""


class NoAccountForData(MarketError):
    """There is no account through which the broker could be asked."""

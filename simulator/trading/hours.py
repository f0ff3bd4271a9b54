"""When orders are taken: the exchanges' sessions, and the broker's hours for orders of the next one."""

from datetime import datetime, timedelta

from simulator.clock import IST, Session, SessionCalendar
from simulator.trading.terms import Product

# Minutes after the close from which the broker takes orders for the next session, and minutes before the opening up to
# which it does (Zerodha's support pages).
_AMO_AFTER_CLOSE = {"equity": 30, "derivatives": 5}
_AMO_BEFORE_OPEN = {"equity": 17, "derivatives": 5}
# The broker closes intraday positions by itself so many minutes before the exchange does.
_SQUARE_OFF_MINUTES = {"equity": 10, "derivatives": 5}
INTRADAY = frozenset({Product.MIS, Product.CO})


class TradingHours:
    """All moments are Unix seconds of market time."""

    def __init__(self, calendar: SessionCalendar) -> None:
        self._calendar = calendar

    def is_open(self, exchange: str, now: float) -> bool:
        session = self._session(exchange, now)
        return session is not None and session.opens.timestamp() <= now < session.closes.timestamp()

    def trades_today(self, exchange: str, now: float) -> bool:
        return self._session(exchange, now) is not None

    def takes_amo(self, exchange: str, now: float) -> bool:
        """Whether an order for the next session is taken now."""
        session, segment = self._session(exchange, now), _segment(exchange)
        if session is None:
            return True
        until = session.opens - timedelta(minutes=_AMO_BEFORE_OPEN[segment])
        again = session.closes + timedelta(minutes=_AMO_AFTER_CLOSE[segment])
        return now < until.timestamp() or now >= again.timestamp()

    def has_closed(self, exchange: str, now: float) -> bool:
        """Whether today's session is over."""
        session = self._session(exchange, now)
        return session is not None and now >= session.closes.timestamp()

    def squares_off(self, exchange: str, now: float) -> bool:
        """Whether it is the last minutes of the session, in which intraday positions are closed by the broker."""
        session = self._session(exchange, now)
        if session is None or now >= session.closes.timestamp():
            return False
        return now >= session.closes.timestamp() - 60 * _SQUARE_OFF_MINUTES[_segment(exchange)]

    def _session(self, exchange: str, now: float) -> Session | None:
        return self._calendar.session_of(exchange, _segment(exchange), datetime.fromtimestamp(now, IST).date())


def _segment(exchange: str) -> str:
    return "equity" if exchange in {"NSE", "BSE"} else "derivatives"

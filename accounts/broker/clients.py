"""Four small clients by subject, each bound to one account: whoever may read prices cannot place an order by mistake.

What they give back is the broker's own data, as its documentation and the official client have it. Every method raises
the `BrokerError` family and nothing else.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

from accounts.broker.client import BrokerClient
from accounts.broker.words import Exchange, Interval, MarginSegment, PositionType, Product, TransactionType, Variety
from accounts.exceptions import OutcomeUnknown, RequestRejected
from accounts.models import TradingAccount
from accounts.sessions import DayToken, note_dead_token, token_of_the_day

# The broker's own limits (Kite Connect v3 documentation, "Market quotes and instruments").
MOST_QUOTES = 500
MOST_OHLC = 1000

Row = dict[str, Any]


class _Bound:
    """One account's calls of one subject. It belongs to one thread, as the session below it does."""

    def __init__(self, account: TradingAccount, kite: BrokerClient) -> None:
        self.account = account
        self._kite = kite

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.account.kite_user_id}>"

    @contextmanager
    def _reading(self) -> Iterator[BrokerClient]:
        """For one call: the official client takes an answer's inside for granted, and what it lacks is no KeyError."""
        before = self._kite.answers
        try:
            yield self._kite
        except (AttributeError, LookupError, NameError, TypeError, ValueError) as exc:
            if self._kite.answers == before:
                raise  # our own mistake, before anything was sent
            raise OutcomeUnknown(f"the broker's answer is not what it documents ({type(exc).__name__})") from exc


class DataClient(_Bound):
    """Prices, candles and instruments: the same whoever asks."""

    def instruments_csv(self, exchange: Exchange | None = None) -> Iterator[bytes]:
        """The instrument dump, as it comes, in chunks of at most 64 KiB."""
        with self._reading() as kite:
            return kite.instruments_csv(exchange)

    def quote(self, instruments: Sequence[str]) -> dict[str, Row]:
        """Whole quotes with depth of up to 500 instruments (``NSE:INFY`` or a token); unknown ones are left out."""
        with self._reading() as kite:
            return _by_name(kite.quote(*_at_most(MOST_QUOTES, instruments)))

    def ohlc(self, instruments: Sequence[str]) -> dict[str, Row]:
        """Last price and the day's open, high, low and last close of up to 1,000."""
        with self._reading() as kite:
            return _by_name(kite.ohlc(*_at_most(MOST_OHLC, instruments)))

    def ltp(self, instruments: Sequence[str]) -> dict[str, Row]:
        """Last prices of up to 1,000."""
        with self._reading() as kite:
            return _by_name(kite.ltp(*_at_most(MOST_OHLC, instruments)))

    def candles(
        self,
        instrument_token: int,
        start: datetime,
        end: datetime,
        interval: Interval,
        *,
        continuous: bool = False,
        oi: bool = False,
    ) -> list[Row]:
        """Candles from `start` to `end`, both included, within the interval's longest window."""
        with self._reading() as kite:
            return _rows(kite.historical_data(instrument_token, start, end, interval, continuous=continuous, oi=oi))


class OrdersClient(_Bound):
    """Orders, triggers and what they would cost. Budget and breaker of an order are its sender's business."""

    def place(self, variety: Variety, **fields: Any) -> str:
        """Send one order and give back its id. `fields` as the broker names them; None is left out."""
        with self._reading() as kite:
            return _order_id(kite.place_order(variety, **fields))

    def place_autoslice(self, variety: Variety, **fields: Any) -> Row:
        """Send an order that the broker cuts at the freeze quantity: its `order_id` and `children`."""
        with self._reading() as kite:
            return _row(kite.place_autoslice_order(variety, **fields))

    def modify(self, variety: Variety, order_id: str, **fields: Any) -> str:
        with self._reading() as kite:
            return _order_id(kite.modify_order(variety, order_id, **fields))

    def cancel(self, variety: Variety, order_id: str, *, parent_order_id: str | None = None) -> str:
        with self._reading() as kite:
            return _order_id(kite.cancel_order(variety, order_id, parent_order_id))

    def book(self) -> list[Row]:
        """The day's orders."""
        with self._reading() as kite:
            return _rows(kite.orders())

    def history(self, order_id: str) -> list[Row]:
        """Every state that one order has gone through, the last one last."""
        with self._reading() as kite:
            return _rows(kite.order_history(order_id))

    def trades(self, order_id: str | None = None) -> list[Row]:
        """The day's trades, or those of one order."""
        with self._reading() as kite:
            return _rows(kite.order_trades(order_id) if order_id else kite.trades())

    def margins(self, orders: Sequence[Mapping[str, Any]]) -> list[Row]:
        """What each order would need by itself."""
        with self._reading() as kite:
            return _rows(kite.order_margins(list(orders)))

    def basket_margins(self, orders: Sequence[Mapping[str, Any]], *, with_positions: bool = True) -> Row:
        """What they would need together."""
        with self._reading() as kite:
            return _row(kite.basket_order_margins(list(orders), consider_positions=with_positions))

    def charges(self, orders: Sequence[Mapping[str, Any]]) -> list[Row]:
        """Brokerage, taxes and fees of each."""
        with self._reading() as kite:
            return _rows(kite.get_virtual_contract_note(list(orders)))


class PortfolioClient(_Bound):
    """What the account has."""

    def profile(self) -> Row:
        with self._reading() as kite:
            return _row(kite.profile())

    def funds(self, segment: MarginSegment | None = None) -> Row:
        """Cash and margins, of both segments or of one."""
        with self._reading() as kite:
            return _row(kite.margins(segment))

    def positions(self) -> dict[str, list[Row]]:
        """``net`` and ``day``."""
        with self._reading() as kite:
            found = _row(kite.positions())
            return {side: _rows(found[side]) for side in ("net", "day")}

    def holdings(self) -> list[Row]:
        with self._reading() as kite:
            return _rows(kite.holdings())

    def convert_position(
        self,
        *,
        exchange: Exchange,
        tradingsymbol: str,
        transaction_type: TransactionType,
        position_type: PositionType,
        quantity: int,
        old_product: Product,
        new_product: Product,
    ) -> bool:
        """Move a position to another product."""
        with self._reading() as kite:
            converted = kite.convert_position(
                exchange, tradingsymbol, transaction_type, position_type, quantity, old_product, new_product
            )
            return bool(converted)


class SessionClient(_Bound):
    """Logging in and out."""

    def exchange(self, request_token: str, api_secret: str) -> Row:
        """Turn a request token into the session of the day, with its `access_token` and `user_id`."""
        with self._reading() as kite:
            return _row(kite.generate_session(request_token, api_secret))

    def user_of(self, token: str) -> str:
        """The Kite user id that an access token belongs to."""
        with self._reading() as kite:
            kite.set_access_token(token)
            return str(kite.profile()["user_id"])

    def log_out(self, token: str) -> None:
        """End an access token."""
        with self._reading() as kite:
            kite.set_access_token(token)
            kite.invalidate_access_token(token)


def data_client(account: TradingAccount) -> DataClient:
    """Raises SessionExpired, as the others do, if the account is not logged in."""
    return DataClient(account, _logged_in(account))


def orders_client(account: TradingAccount, *, urgent: bool = False, token: DayToken | None = None) -> OrdersClient:
    """
    Parameters
    ----------
    urgent : for cancels, exits and the reads that settle unknown orders (`accounts.broker.guard.Caller`)
    token : the account's, where the caller has read it already
    """
    return OrdersClient(account, _logged_in(account, urgent=urgent, token=token))


def portfolio_client(account: TradingAccount) -> PortfolioClient:
    return PortfolioClient(account, _logged_in(account))


def session_client(account: TradingAccount) -> SessionClient:
    """For an account that need not be logged in."""
    return SessionClient(account, BrokerClient(account.app.api_key, account=account.kite_user_id))


def _logged_in(account: TradingAccount, *, urgent: bool = False, token: DayToken | None = None) -> BrokerClient:
    token = token or token_of_the_day(account)
    return BrokerClient(
        account.app.api_key,
        token.text,
        account=account.kite_user_id,
        urgent=urgent,
        on_dead_token=partial(note_dead_token, account, token.version),
    )


def _at_most(limit: int, instruments: Sequence[str]) -> Sequence[str]:
    if not 1 <= len(instruments) <= limit:
        raise RequestRejected(
            f"not sent: {len(instruments)} instruments, and a call takes 1 to {limit}", error_type="InputException"
        )
    return instruments


def _rows(data: Any) -> list[Row]:
    if not isinstance(data, list):
        raise TypeError("no list")
    return [_row(row) for row in data]


def _row(data: Any) -> Row:
    if not isinstance(data, dict):
        raise TypeError("no object")
    return data


def _by_name(data: Any) -> dict[str, Row]:
    return {str(name): _row(row) for name, row in _row(data).items()}


def _order_id(data: Any) -> str:
    if not isinstance(data, str) or not data:
        raise TypeError("no order id")
    return data

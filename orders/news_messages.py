"""What clients of `/ws/orders/` say and are sent. Pure: text in, values out; values in, text out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from accounts.socket_consumer import BadMessage, read_object
from orders.models import BrokerOrder, OrderTask, TradingState
from orders.news import Kind, News
from orders.words import broker_words, words_of

MOST_ACCOUNTS = 1_000
LARGEST_SEQ = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Subscribe:
    """`accounts` is None for all that the client may read; `last_seq` is what it has of some of them."""

    accounts: frozenset[UUID] | None
    last_seq: Mapping[UUID, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ack:
    """The client has this frame, and all before it."""

    frame: int


def read_client_message(text: str, *, only: UUID | None = None) -> Subscribe | Ack:
    """What the client said. Raises BadMessage if that is not in the protocol.

    Parameters
    ----------
    only : the account that the socket's address names
    """
    message = read_object(text)
    match list(message):
        case ["ack"]:
            return Ack(_whole(message["ack"], "ack"))
        case ["subscribe"]:
            return _subscribe(message["subscribe"], only)
    raise BadMessage("bad_message", "A frame is either {subscribe: …} or {ack: …}.")


def _subscribe(asked: Any, only: UUID | None) -> Subscribe:
    if not isinstance(asked, dict) or asked.keys() - {"accounts", "last_seq"}:
        raise BadMessage("bad_message", "`subscribe` has `accounts` and `last_seq`.")
    last_seq = asked.get("last_seq", {})
    if not isinstance(last_seq, dict):
        raise BadMessage("bad_message", "`last_seq` has a number for each account.")
    accounts = _accounts(asked.get("accounts", [str(only)] if only else None))
    if only is not None and accounts != frozenset({only}):
        raise BadMessage("bad_message", "This address is of one account: name no other.")
    had = {_id(name): _whole(seq, "last_seq") for name, seq in last_seq.items()}
    if accounts is not None and had.keys() - accounts:
        raise BadMessage("bad_message", "`last_seq` names an account that is not subscribed.")
    return Subscribe(accounts, had)


def _accounts(asked: Any) -> frozenset[UUID] | None:
    if asked == "all":
        return None
    if not isinstance(asked, list) or not 0 < len(asked) <= MOST_ACCOUNTS:
        raise BadMessage("bad_message", f'`accounts` is "all", or a list of up to {MOST_ACCOUNTS} ids.')
    return frozenset(map(_id, asked))


def _id(value: Any) -> UUID:
    try:
        found = UUID(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or str(found) != value:  # UUIDs have other forms too; the service writes one
        raise BadMessage("bad_message", "Accounts are named by their ids.")
    return found


def _whole(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value <= LARGEST_SEQ:
        raise BadMessage("bad_message", f"`{name}` must be whole numbers from 0.")
    return value


# --- what is sent ----------------------------------------------------------------------------------------------------


def subscribed_frame(accounts: Mapping[UUID, tuple[int, bool]]) -> str:
    """The answer to a subscription: where each account's rows begin, and whether that goes on from `last_seq`."""
    begun = {str(name): {"seq": seq, "resumed": resumed} for name, (seq, resumed) in accounts.items()}
    return orjson.dumps({"type": "subscribed", "accounts": begun}).decode()


def snapshot_frame(
    frame: int,
    account: UUID,
    seq: int,
    tasks: Sequence[Mapping[str, Any]],
    states: Sequence[Mapping[str, Any]],
    *,
    is_last: bool,
) -> str:
    """How an account stands before the rows after `seq`: its open tasks, as REST shows them, and what is stopped."""
    body = {
        "type": "snapshot",
        "frame": frame,
        "account": str(account),
        "seq": seq,
        "is_last": is_last,
        "tasks": tasks,
        "trading_states": states,
    }
    return orjson.dumps(body, default=str).decode()


def news_frame(frame: int, rows: Iterable[str]) -> str:
    return f'{{"type":"news","frame":{frame},"rows":[{",".join(rows)}]}}'


def row_text(account: UUID, news: News) -> str:
    """One row as JSON: made once for all clients of a process."""
    row = {
        "account": str(account),
        "seq": news.seq,
        "kind": str(news.kind),
        "reference": news.reference,
        "at": news.at,
        "words": _words(news),
        "data": news.payload,
    }
    return orjson.dumps(row, option=orjson.OPT_UTC_Z).decode()


def _words(news: News) -> str:
    told = news.payload
    match news.kind:
        case Kind.TASK:
            known = {name: told[name] for name in ("status", "error_code", "http_status")}
            return words_of(OrderTask(**known), None)
        case Kind.BROKER_ORDER:
            return broker_words(BrokerOrder(status=told["status"], filled_quantity=told["filled_quantity"]))
        case Kind.TRADING_STATE:
            return str(TradingState.State(told["state"]).label)

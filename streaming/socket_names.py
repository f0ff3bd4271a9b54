"""What a socket is called, in all processes, states and the ledger of gaps alike, and whose it is by its name."""

from typing import Final

_SOCKET: Final = " socket "


def socket_name(account: str, number: int) -> str:
    """`AB1234 socket 1` for the account's slot 0."""
    return f"{account}{_SOCKET}{number + 1}"


def account_and_number(name: str) -> tuple[str, str]:
    """`AB1234` and `1`; the number is empty where the name is none of a socket."""
    account, _, number = name.partition(_SOCKET)
    return account, number

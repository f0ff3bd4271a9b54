"""Ends of TCP connections that no protocol asks for."""

import socket
import struct
from asyncio import BaseTransport, Transport

_RST_ON_CLOSE = struct.pack("ii", 1, 0)  # linger for no time: what was not sent is thrown away


def reset(transport: BaseTransport | None) -> None:
    """End the connection with TCP RST."""
    if isinstance(transport, Transport) and (tcp := transport.get_extra_info("socket")) is not None:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        transport.abort()


def hang_up(transport: BaseTransport | None) -> None:
    """End it with TCP FIN once everything is sent, and no goodbye of the protocol above."""
    if transport is not None:
        transport.close()

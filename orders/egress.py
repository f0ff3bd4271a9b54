"""The address that orders leave from. The broker takes them from registered ones only, two at most for an app."""

import ipaddress
from collections.abc import Iterator
from typing import Any

NO_ORDERS = "none"
MOST_ADDRESSES = 2


def egress_problems(settings: Any) -> Iterator[str]:
    """What is wrong with `ORDER_EGRESS_IP` in production, as a sentence that begins with its name."""
    told = list(settings.ORDER_EGRESS_IP)
    if told == [NO_ORDERS]:
        return
    if not told:
        yield (
            "ORDER_EGRESS_IP is empty: the broker takes orders from registered addresses only; name the one that they "
            f"leave from, or write {NO_ORDERS} where no orders are sent"
        )
    if len(told) > MOST_ADDRESSES:
        yield f"ORDER_EGRESS_IP names {len(told)} addresses: {MOST_ADDRESSES} can be registered"
    for text in told:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            yield f"ORDER_EGRESS_IP has {text}, which is no address"
            continue
        if not address.is_global:
            yield f"ORDER_EGRESS_IP has {text}, which the broker cannot see: name the public one"

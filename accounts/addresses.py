"""Where a request comes from, and whether a network includes that."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from django.core.exceptions import ValidationError
from rest_framework.settings import api_settings


def validate_network(text: str) -> None:
    try:
        ip_network(text)
    except ValueError as exc:
        raise ValidationError(f"{text!r} is not an address or a network like 10.0.0.0/8: {exc}") from exc


def client_address(meta: Mapping[str, Any]) -> str:
    """The address of the client, as seen by the outermost proxy that is ours (`NUM_PROXIES`), from `request.META`.

    What a client writes into X-Forwarded-For itself stands further left and is never looked at.
    """
    proxies = api_settings.NUM_PROXIES or 0
    forwarded = [hop.strip() for hop in str(meta.get("HTTP_X_FORWARDED_FOR", "")).split(",") if hop.strip()]
    if proxies and len(forwarded) >= proxies:
        return forwarded[-proxies]
    return str(meta.get("REMOTE_ADDR", ""))


def is_in_networks(address: str, networks: Sequence[str]) -> bool:
    """Whether `address` lies in one of `networks`; no networks at all allow every address."""
    if not networks:
        return True
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in ip_network(network) for network in networks)

"""The broker's REST interface: the official client's methods over our own transport, errors translated at this edge."""

from accounts.broker.client import BrokerClient, anonymous_client, session

__all__ = ["BrokerClient", "anonymous_client", "session"]

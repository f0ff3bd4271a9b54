"""Broker sockets, the tick pipeline, subscriptions, and WebSocket clients."""

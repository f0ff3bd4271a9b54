"""What this process counts of its calls to the broker. Owners are Kite user ids, or the end of an API key."""

from prometheus_client import Counter

BUDGET_CHARGED = Counter("broker_budget_charged", "Calls that the budget let through", ["owner", "route_class"])
BUDGET_WAITS = Counter(
    "broker_budget_waits", "Calls that were told to wait, by what they wait for", ["owner", "route_class", "window"]
)
BREAKER_REFUSALS = Counter("broker_breaker_refusals", "Calls that an open breaker refused", ["breaker"])
PLACES_REFUSALS = Counter("broker_places_refusals", "Calls that found every place of their account taken", ["owner"])

"""STRICT: the profile for tests, in which seconds are tenths and no budget is the clock."""

STRICT = {
    # A call and its way into the rows fit into what is left of a lease when it may last begin.
    "KITE_TIMEOUT_SECONDS": "1.0",
    "KITE_PATIENCE_SECONDS": "0.5",
    "ORDER_LEASE_SECONDS": "4.0",
    "ORDER_FENCE_SHARE": "0.6",
    "ORDER_RECONCILE_FIRST_SECONDS": "0.2",
    "ORDER_ABSENCE_SECONDS": "2.0",
    "ORDER_UNRESOLVED_SECONDS": "600",
    "ORDER_BUDGET_PER_SECOND": "10",
    "ORDER_BUDGET_RESERVE_PER_SECOND": "1",
    "ORDER_BUDGET_WINDOW_SECONDS": "1.0",
    "ORDER_BUDGET_PER_MINUTE": "400",
    "ORDER_BUDGET_RESERVE_PER_MINUTE": "10",
    "DATA_BUDGET_OTHER": "10",
    "BREAKER_OPEN_SECONDS": "0.5",
    "BREAKER_PROBE_SECONDS": "1.5",
    # Three in ten calls fail here: what stops an account whose broker fails so much would end the soak.
    "ORDER_TRIP_UNKNOWN": "0",
    "ORDER_TRIP_RATE_LIMITED": "0",
    # The simulator's own limits are another matter (`python -m benchmarks orders` keeps them).
    "SIMULATOR_RATE_LIMITS": "false",
    "SIMULATOR_ORDER_MS": "0",
    "SIMULATOR_ACTIVITY": "0.05",
    "SIMULATOR_FRAME_MS": "1000",
    "API_THROTTLE_RATE": "1000000/min",
}
ABSENCE_SECONDS = float(STRICT["ORDER_ABSENCE_SECONDS"])
LEASE_SECONDS = float(STRICT["ORDER_LEASE_SECONDS"])
SETTLED_SECONDS = 40.0
"""So long after the last blow every order is at its end: 20 for the orders, as many for what has to start again."""

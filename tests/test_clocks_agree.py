"""Service and simulator tell the same market time, though they share settings and files but no code."""

from datetime import datetime
from pathlib import Path

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from accounts.clock import load_reference_sessions, make_clock
from simulator.clock import MarketClock, SessionCalendar

FOLDER = Path(settings.MARKET_DATA_DIR)
CALENDAR, SESSIONS = SessionCalendar.from_folder(FOLDER), load_reference_sessions(FOLDER)
YEAR = (datetime.fromisoformat("2026-01-01T00:00+05:30"), datetime.fromisoformat("2026-12-31T23:59+05:30"))


@pytest.mark.parametrize("mode", ["real", "open", "2026-11-25T10:42:00+05:30"])
@given(
    anchor=st.floats(YEAR[0].timestamp(), YEAR[1].timestamp()),
    elapsed=st.floats(0, 200_000),
    speed=st.sampled_from([0.25, 1.0, 60.0]),
)
def test_both_clocks_agree(mode: str, anchor: float, elapsed: float, speed: float) -> None:
    service = make_clock(mode, speed=speed, anchor=anchor, sessions=lambda: SESSIONS)
    simulator = MarketClock(CALENDAR, mode, speed, anchor, system_clock=lambda: anchor + elapsed)
    assert service(anchor + elapsed).timestamp() == pytest.approx(simulator.timestamp(), abs=1e-3)

"""Our schemas describe the broker's recorded answers, and our own answers keep to them."""

import csv
import io
import json
from pathlib import Path

import pytest
import requests
from kiteconnect import KiteConnect

from simulator.options import DEMO_APP, DEMO_USER
from simulator.tests.running import RunningSimulator
from simulator.tests.schemas import violations

RECORDINGS = {
    "generate_session.json": "session",
    "profile.json": "profile",
    "margins.json": "margins",
    "margins_equity.json": "margins_segment",
    "ltp.json": "ltp",
    "ohlc.json": "ohlc",
    "quote.json": "quote",
    "historical_minute.json": "candles",
    "orders.json": "orders",
    "order_info.json": "orders",
    "order_response.json": "order_placed",
    "order_modify.json": "order_placed",
    "order_cancel.json": "order_placed",
    "trades.json": "trades",
    "positions.json": "positions",
    "holdings.json": "holdings",
    "postback.json": "order_update",
}


@pytest.mark.parametrize(("file", "schema"), RECORDINGS.items())
def test_a_recorded_answer_fits_our_schema(recordings: Path, file: str, schema: str) -> None:
    assert violations(schema, json.loads((recordings / file).read_text(encoding="utf-8"))) == []


def test_recorded_instruments_fit_our_schema(recordings: Path) -> None:
    rows = csv.DictReader((recordings / "instruments_nse.csv").read_text(encoding="utf-8").splitlines())
    assert [problem for row in rows for problem in violations("instrument", row)] == []


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/user/profile", "profile"),
        ("/user/margins", "margins"),
        ("/user/margins/equity", "margins_segment"),
        ("/quote/ltp?i=NSE:INFY&i=256265&i=NSE:NOBODY", "ltp"),
        ("/quote/ohlc?i=BSE%3ASENSEX&i=NSE:M%26M", "ohlc"),
        ("/quote?i=NSE:NIFTY+50&i=NFO:NIFTY26D0126000CE&i=NFO:NIFTY26DECFUT&i=NFO:NIFTY26D0122100PE", "quote"),
        ("/instruments/historical/256265/minute?from=2026-11-25&to=2026-11-25+10:00:00", "candles"),
        ("/instruments/historical/408065/day?from=2026-11-01&to=2026-11-25&oi=1", "candles"),
        ("/instruments/historical/1/day?from=2026-11-01&to=2026-11-25", "error"),
        ("/user/margins/nowhere", "error"),
        ("/nowhere", "error"),
        ("/session/token", "error"),  # GET is not a method of it
    ],
)
def test_an_answer_of_the_simulator_fits_our_schema(
    kite: KiteConnect, simulator: RunningSimulator, path: str, schema: str
) -> None:
    headers = {"Authorization": f"token {kite.api_key}:{kite.access_token}"}
    answer = requests.get(simulator.http_root + path, headers=headers, timeout=5)
    assert answer.headers["Content-Type"].startswith("application/json")
    assert violations(schema, answer.json()) == []


def test_the_answers_around_a_login_fit_our_schemas(quiet_simulator: RunningSimulator) -> None:
    root = quiet_simulator.http_root
    form = {"user_id": DEMO_USER.user_id, "password": DEMO_USER.password}
    assert violations("login_password", requests.post(f"{root}/api/login", form, timeout=5).json()) == []
    assert violations("error", requests.post(f"{root}/session/token", {}, timeout=5).json()) == []
    kite = quiet_simulator.logged_in()
    token = {"api_key": DEMO_APP.api_key, "access_token": kite.access_token}
    assert violations("session_ended", requests.delete(f"{root}/session/token", params=token, timeout=5).json()) == []


def test_every_row_of_the_dump_fits_our_schema(simulator: RunningSimulator) -> None:
    text = requests.get(f"{simulator.http_root}/instruments", timeout=10).text
    rows = list(csv.DictReader(io.StringIO(text)))
    sample = rows[:400] + rows[400::97]  # all forms are in it; the whole takes long
    assert [problem for row in sample for problem in violations("instrument", row)] == []

"""The official client against the simulator, and the broker's limits."""

from datetime import date, datetime

import pytest
import requests
from kiteconnect import KiteConnect
from kiteconnect import exceptions as kite_exceptions

from simulator.options import DEMO_APP, SimulatorOptions
from simulator.tests.running import OPEN, RunningSimulator, SetClock, running, with_rules

INTERVALS = ("minute", "3minute", "5minute", "10minute", "15minute", "30minute", "60minute", "day")


def test_a_session_starts_with_a_request_token_and_names_its_user(quiet_simulator: RunningSimulator) -> None:
    kite = quiet_simulator.client()
    session = kite.generate_session(quiet_simulator.request_token(), DEMO_APP.api_secret)
    assert session["user_id"] == "AB1234"
    assert isinstance(session["login_time"], datetime)
    assert kite.profile()["user_name"] == session["user_name"]


def test_a_logged_out_token_is_refused_and_the_clients_hook_is_called(quiet_simulator: RunningSimulator) -> None:
    kite, expired = quiet_simulator.logged_in(), []
    kite.set_session_expiry_hook(lambda: expired.append(True))
    assert kite.invalidate_access_token() is True
    with pytest.raises(kite_exceptions.TokenException, match="Incorrect `api_key` or `access_token`"):
        kite.profile()
    assert expired


def test_funds_are_the_same_asked_for_together_or_by_segment(kite: KiteConnect) -> None:
    both = kite.margins()
    assert both["equity"] == kite.margins("equity")
    assert both["commodity"] == kite.margins("commodity")


def test_the_client_reads_the_whole_dump(kite: KiteConnect) -> None:
    rows = kite.instruments()
    options = [row for row in rows if row["instrument_type"] in {"CE", "PE"}]
    assert len(rows) >= 30_000
    assert all(isinstance(row["expiry"], date) and row["strike"] > 0 for row in options)
    assert {row["exchange"] for row in kite.instruments("BFO")} == {"BFO"}


def test_quotes_of_one_instrument_agree_with_each_other(kite: KiteConnect, simulator: RunningSimulator) -> None:
    quote = kite.quote("NSE:INFY", "NFO:NIFTY26D0126000CE", "NSE:NOBODY")
    assert set(quote) == {"NSE:INFY", "NFO:NIFTY26D0126000CE"}
    assert quote["NSE:INFY"]["instrument_token"] == 408065
    assert isinstance(quote["NSE:INFY"]["last_trade_time"], datetime)
    ohlc = kite.ohlc(["NSE:INFY"])["NSE:INFY"]
    assert ohlc["ohlc"]["close"] == quote["NSE:INFY"]["ohlc"]["close"]
    assert kite.ltp("408065")["408065"]["last_price"] == pytest.approx(ohlc["last_price"], rel=0.01)


def test_no_instrument_asked_for_is_no_instrument_answered(kite: KiteConnect) -> None:
    assert kite.ltp([]) == {}


@pytest.mark.parametrize("interval", INTERVALS)
def test_candles_of_every_interval(kite: KiteConnect, interval: str) -> None:
    rows = kite.historical_data(256265, "2026-11-20", "2026-11-25 10:30:00", interval, oi=True)
    assert rows[0]["date"].isoformat() >= "2026-11-20"
    assert rows[-1]["date"].isoformat() < "2026-11-25T10:30:01"
    assert all(row["low"] <= min(row["open"], row["close"]) <= row["high"] for row in rows)


def test_candles_over_too_many_days_are_refused(kite: KiteConnect) -> None:
    with pytest.raises(kite_exceptions.InputException, match="interval exceeds max limit: 60 days"):
        kite.historical_data(256265, "2026-09-01", "2026-11-25", "minute")


def test_the_candle_window_is_a_switch(options: SimulatorOptions, open_clock: SetClock) -> None:
    with running(with_rules(options, candle_windows=False), open_clock) as simulator:
        assert simulator.logged_in().historical_data(256265, "2026-09-01", "2026-11-25", "minute")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("DELETE", "/quote", 405)])
def test_a_wrong_address_is_answered_in_the_envelope(
    simulator: RunningSimulator, method: str, path: str, status: int
) -> None:
    answer = requests.request(method, simulator.http_root + path, timeout=5)
    assert answer.status_code == status
    assert answer.json()["error_type"] == "GeneralException"


@pytest.mark.parametrize("header", [None, "token simkey1", "Bearer simkey1:x", "token :x"])
def test_a_malformed_authorization_is_a_bad_request(simulator: RunningSimulator, header: str | None) -> None:
    headers = {"Authorization": header} if header else {}
    answer = requests.get(f"{simulator.http_root}/user/profile", headers=headers, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["message"] == "Invalid `api_key` or `access_token`."


def test_the_second_quote_within_a_second_is_one_too_many(options: SimulatorOptions, open_clock: SetClock) -> None:
    now = SetClock(datetime.now().timestamp())  # noqa: DTZ005 - codes run on real time
    with running(with_rules(options, rate_limits=True), open_clock, now) as simulator:
        kite = simulator.logged_in()
        kite.ltp("NSE:INFY")
        with pytest.raises(kite_exceptions.NetworkException, match="Too many requests") as refused:
            kite.ltp("NSE:INFY")
        assert refused.value.code == 429
        assert kite.profile()  # counted apart
        now.moment += 1
        assert kite.ltp("NSE:INFY")


def test_a_token_ends_at_six_in_the_morning(options: SimulatorOptions) -> None:
    clock = SetClock(OPEN)
    with running(options, clock) as simulator:
        kite = simulator.logged_in()
        clock.moment = datetime.fromisoformat("2026-11-26T05:59:59+05:30").timestamp()
        assert kite.profile()
        clock.moment += 1
        with pytest.raises(kite_exceptions.TokenException):
            kite.profile()

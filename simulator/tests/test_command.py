"""The process: options, start and stop."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from django.conf import settings
from pytest_django import Settings

from simulator.app import start
from simulator.management.commands.run_simulator import options_from_settings
from simulator.options import DEMO_USER, DemoUser, InvalidOptions, SimulatorOptions, read_accounts
from simulator.tests.running import with_rules


@pytest.mark.processes
def test_the_command_says_where_it_listens_and_stops_on_sigterm() -> None:
    command = [sys.executable, "manage.py", "run_simulator", "--port", "0"]
    environment = os.environ | {"MARKET_CLOCK": "open", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=settings.BASE_DIR, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "listening" in line)
        address = line.split("listening on ")[1].split()[0]
        assert requests.get(f"{address}/nowhere", timeout=5).status_code == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


def test_options_come_from_settings(settings: Settings) -> None:
    settings.SIMULATOR_SEED, settings.SIMULATOR_PORT, settings.SIMULATOR_TOKEN_FLUSH = 7, 8123, False
    settings.SIMULATOR_REDIRECT_URL = "http://127.0.0.1:9/back"
    assert options_from_settings().control_token == ""
    settings.SIMULATOR_CONTROL_TOKEN = "opens"
    settings.SIMULATOR_ORDER_MS = 5
    settings.SIMULATOR_POSTBACK_URL = "http://127.0.0.1:9/hook"
    settings.SIMULATOR_FUNDS_REFUSED_AT_ONCE = True
    options = options_from_settings()
    assert options.control_token == "opens"
    assert (options.seed, options.port, options.rules.token_flush) == (7, 8123, False)
    assert options.apps[0].redirect_url == "http://127.0.0.1:9/back"
    assert (options.order_ms, options.apps[0].postback_url) == (5, "http://127.0.0.1:9/hook")
    assert options.rules.funds_refused_at_once


def test_more_users_and_apps_come_from_a_file(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "accounts.toml"
    path.write_text(
        '[[users]]\nuser_id = "CD5678"\npassword = "p"\ntotp_secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"\n'
        "cash = 500.5\nholdings = { SBIN = 3 }\n"
        '[[apps]]\napi_key = "k2"\napi_secret = "s2"\nredirect_url = "http://127.0.0.1/"\nmarket_data = false\n',
        encoding="utf-8",
    )
    settings.SIMULATOR_ACCOUNTS_FILE = str(path)
    options = options_from_settings()
    assert [user.user_id for user in options.users] == ["AB1234", "CD5678"]
    assert (options.users[1].cash, options.users[1].holdings) == (500.5, {"SBIN": 3})
    assert [app.market_data for app in options.apps] == [True, False]


@pytest.mark.parametrize("content", ["[[users]]\nname = 1\n", "not toml", None])
def test_a_bad_accounts_file_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "accounts.toml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidOptions, match=r"accounts\.toml"):
        read_accounts(path)


def test_a_totp_secret_that_no_authenticator_takes_is_refused() -> None:
    with pytest.raises(InvalidOptions, match="AB9999"):
        DemoUser(user_id="AB9999", password="p", totp_secret="JBSWY3DP")
    assert DEMO_USER.user_id == "AB1234"


@pytest.mark.parametrize("given", ["cash = -1", "cash = nan", "holdings = 5", "holdings = { SBIN = 0 }"])
def test_an_account_begins_with_what_there_can_be(tmp_path: Path, given: str) -> None:
    path = tmp_path / "accounts.toml"
    user = f'user_id = "CD5678"\npassword = "p"\ntotp_secret = "{DEMO_USER.totp_secret}"'
    path.write_text(f"[[users]]\n{user}\n{given}\n", encoding="utf-8")
    with pytest.raises(InvalidOptions, match="CD5678"):
        read_accounts(path)


async def test_a_taken_port_is_said_with_what_to_do(options: SimulatorOptions) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidOptions, match=f"{port}.*SIMULATOR_PORT"):
            await start(SimulatorOptions(sessions_folder=options.sessions_folder, port=port))


def test_all_rules_hold_unless_switched_off(options: SimulatorOptions) -> None:
    rules = SimulatorOptions(sessions_folder=options.sessions_folder).rules
    assert all(getattr(rules, name) for name in ("rate_limits", "candle_windows", "token_flush", "session_checks"))
    assert not with_rules(options, token_flush=False).rules.token_flush

"""The pieces of the one-machine run: ports, the data folder, the supervisor."""

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from accounts import demo
from tickerproject.local import __main__ as local
from tickerproject.local.__main__ import arguments, calendar_end
from tickerproject.local.console import Console
from tickerproject.local.ports import LOOPBACK, NoFreePort, any_free, is_free, next_free
from tickerproject.local.state import DataFolder, DataFolderError, read_env, write_private
from tickerproject.local.supervisor import Service, ServiceFailed, Supervisor


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (what is waited for is another process's output)
            await asyncio.sleep(0.01)


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as server:
        server.bind((LOOPBACK, 0))
        server.listen()
        taken = server.getsockname()[1]
        assert not is_free(taken)
        assert next_free(taken) > taken


def test_a_port_promised_to_another_process_is_passed_over() -> None:
    port = any_free()
    assert next_free(port, taken=frozenset({port})) > port


def test_no_free_port_says_what_to_do() -> None:
    with pytest.raises(NoFreePort, match="--port"):
        next_free(50_000, taken=frozenset(range(50_000, 50_200)))


def test_the_data_folder_and_its_secrets_are_private_and_stay(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.open()
    secrets = folder.secrets()
    assert folder.secrets() == secrets
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data" / "secrets.env").stat().st_mode & 0o777 == 0o600


def test_a_second_run_on_the_same_folder_is_refused_with_the_owner(tmp_path: Path) -> None:
    first = DataFolder(tmp_path)
    first.open()
    with pytest.raises(DataFolderError, match=rf"process {os.getpid()}.*--data"):
        DataFolder(tmp_path).open()


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFolderError, match="not writable") as refused:
        DataFolder(tmp_path / "file" / "data").open()
    assert "\n" not in str(refused.value)


def test_reset_leaves_nothing_but_the_lock(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.open()
    folder.secrets()
    (tmp_path / "postgres").mkdir()
    folder.reset()
    assert [entry.name for entry in tmp_path.iterdir()] == ["lock"]


def test_written_values_are_read_back(tmp_path: Path) -> None:
    values = {"A": "redis://:p=w@127.0.0.1:1/0", "B": ""}
    write_private(tmp_path / "x.env", values)
    assert read_env(tmp_path / "x.env") == values


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def supervisor(output: io.StringIO) -> Supervisor:
    return Supervisor(Console(output, colours=False), os.environ)


def _python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


async def test_lines_carry_the_name_of_their_process(supervisor: Supervisor, output: io.StringIO) -> None:
    supervisor.start(Service("alpha", _python("print('hello'); import time; time.sleep(60)")))
    await until(lambda: "alpha    │ hello" in output.getvalue())
    await supervisor.stop()


async def test_a_process_that_dies_is_started_again_and_the_reason_shown(
    supervisor: Supervisor, output: io.StringIO
) -> None:
    supervisor.start(Service("weak", _python("print('up'); raise SystemExit(3)")))
    await until(lambda: output.getvalue().count("│ up") >= 2)
    await supervisor.stop()
    assert "weak ended with code 3; starting it again in 0.5 s" in output.getvalue()


async def test_only_the_leader_is_told_to_stop(supervisor: Supervisor, output: io.StringIO) -> None:
    child = """
import signal, time
signal.signal(15, lambda *_: print('child told', flush=True))
print('child up', flush=True)
time.sleep(60)
"""
    leader = f"""
import signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-u", "-c", {child!r}])
signal.signal(15, lambda *_: (print("leader told", flush=True), sys.exit(0)))
time.sleep(60)
"""
    supervisor.start(Service("leader", _python(leader)))
    await until(lambda: "child up" in output.getvalue())
    await supervisor.stop()
    assert "leader told" in output.getvalue()
    assert "child told" not in output.getvalue()


async def test_a_command_that_fails_tells_its_output(supervisor: Supervisor) -> None:
    with pytest.raises(ServiceFailed, match=r"(?s)code 2.*what went wrong"):
        await supervisor.run_once("once", _python("print('what went wrong'); raise SystemExit(2)"))


async def test_a_process_that_never_gets_ready_is_named_with_its_last_line(
    supervisor: Supervisor, output: io.StringIO
) -> None:
    service = Service("slow", _python("print('waiting for godot'); import time; time.sleep(60)"))
    supervisor.start(service)
    await until(lambda: "godot" in output.getvalue())
    with pytest.raises(ServiceFailed, match=r"slow was not ready.*waiting for godot"):
        await supervisor.wait_ready(service, lambda: False, 0.1)
    await supervisor.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_no_process_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    sleeper_code = f"""
import os, pathlib, time
pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid()))
time.sleep(60)
"""
    code = f"""
import asyncio, os, sys
from tickerproject.local.__main__ import arguments, calendar_end
from tickerproject.local.console import Console
from tickerproject.local.supervisor import Service, Supervisor
async def main():
    supervisor = Supervisor(Console(colours=False), os.environ)
    supervisor.start(Service("sleeper", [sys.executable, "-c", {sleeper_code!r}]))
    await asyncio.sleep(60)
asyncio.run(main())
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 15
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    sleeper = int((tmp_path / "pid").read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while (
        Path(f"/proc/{sleeper}").exists()
        and "Z" not in Path(f"/proc/{sleeper}/stat").read_text().split(")")[-1].split()[0]
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_calendars_end_is_read_from_the_projects_own_file(tmp_path: Path) -> None:
    file = tmp_path / "session_exceptions.csv"
    file.write_text("exchange,segment,date,kind\nNSE,equity,2025-01-26,holiday\nNSE,equity,2026-12-25,holiday\n")
    assert calendar_end(file) == date(2026, 12, 31)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--port", "0", "from 1 to 65535"),
        ("--port", "99999", "from 1 to 65535"),
        ("--port", "http", "from 1 to 65535"),
        ("--rows", "5", "from 30000 to 115000"),
        ("--speed", "0", "above 0"),
        ("--speed", "nan", "above 0"),
        ("--speed", "fast", "above 0"),
        ("--clock", "tomorrow", "open, real or a moment"),
        ("--clock", "2026-11-25T09:15:00", "has no offset"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_before_anything_starts(
    option: str, value: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        arguments([option, value])
    assert refused.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_the_usual_options_are_understood() -> None:
    options = arguments(
        ["--port", "8081", "--clock", "2026-11-25T09:15:00+05:30", "--speed", "2.5", "--rows", "115000"]
    )
    assert (options.port, options.clock, options.speed, options.rows) == (
        8081,
        "2026-11-25T09:15:00+05:30",
        2.5,
        115_000,
    )


def test_the_simulated_broker_posts_to_where_the_demos_app_is_listened_for() -> None:
    assert local.DEMO_HOOK_SLUG == demo.DEMO_HOOK_SLUG

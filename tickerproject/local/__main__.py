"""`python -m tickerproject.local`: everything on this machine, until Ctrl-C. `bin/run` calls it."""

import argparse
import asyncio
import contextlib
import csv
import json
import math
import os
import signal
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from tickerproject.local import first_price
from tickerproject.local.console import Console
from tickerproject.local.ports import LOOPBACK, NoFreePort, is_free, next_free
from tickerproject.local.postgres import Postgres, PostgresUnavailable
from tickerproject.local.state import DataFolder, DataFolderError, read_env, write_private
from tickerproject.local.supervisor import Service, ServiceFailed, Supervisor
from tickerproject.local.valkey import Valkey, ValkeyUnavailable

PROJECT = Path(__file__).resolve().parents[2]
OWN_IF_GIVEN = ("SECRET_KEY", "CREDENTIAL_KEYS", "STREAM_DEPTH_LEVELS")
WEB_PORT, SIMULATOR_PORT, POSTGRES_PORT, VALKEY_PORT = 8080, 8090, 54320, 63790
LAST_PORT = 65535
ROWS = 30_000, 115_000
READY_SECONDS = 90
FIRST_PRICE_SECONDS = 30
DEMO_KEY = "demo-api-key.env"
DEMO_HOOK_SLUG = "simulated-broker"  # of `accounts.demo`, which this cannot import
# A simulated run that skips closed hours looks some days ahead.
CALENDAR_MARGIN = timedelta(days=10)
KNOWN_DAY = "2026-11-25T09:15:00+05:30"


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bin/run", description="Run the whole service on this machine, with a simulated broker. Ctrl-C stops it."
    )
    parser.add_argument(
        "--port", type=_port, default=WEB_PORT, help=f"of the web page and API ({WEB_PORT}; the next free one if taken)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("TICKER_DATA_DIR", PROJECT / ".data")),
        metavar="DIR",
        help="where everything is kept (.data)",
    )
    parser.add_argument(
        "--reset", action="store_true", help="delete the data folder's contents first: database, keys, users"
    )
    parser.add_argument(
        "--no-simulator", action="store_true", help="use the real broker (KITE_* in .env) instead of the simulated one"
    )
    parser.add_argument(
        "--clock",
        type=_clock,
        default=None,
        metavar="WHEN",
        help="the simulated market's time: open (skips closed hours), real, or a moment like 2026-11-25T09:14:30+05:30",
    )
    parser.add_argument("--speed", type=_speed, default=1.0, help="how fast the simulated market's time runs (1)")
    parser.add_argument(
        "--rows", type=_rows, default=30_000, help="instruments the simulated broker lists: 30000 to 115000"
    )
    return parser.parse_args(argv)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= LAST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; expected a number from 1 to {LAST_PORT}")
    return int(text)


def _rows(text: str) -> int:
    least, most = ROWS
    if not text.isascii() or not text.isdecimal() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a number from {least} to {most}")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a number above 0")
    return speed


def _clock(text: str) -> str:
    if text not in ("open", "real"):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}; expected open, real or a moment like {KNOWN_DAY}") from None
        if moment.tzinfo is None:
            raise argparse.ArgumentTypeError(f"{text!r} has no offset; write {text}+05:30 for Indian time")
    return text


def calendar_end(exceptions: Path) -> date:
    """The last day of the last year for which the project's file lists the exchanges' holidays."""
    with exceptions.open(newline="") as file:
        years = {row["date"][:4] for row in csv.DictReader(file)}
    return date(int(max(years)), 12, 31)


class LocalRun:
    """One run of everything: servers, preparation, processes, the block that says where to go."""

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self._options = options
        self._console = console
        self._folder = DataFolder(options.data.resolve())
        self._taken: set[int] = set()
        self._supervisor = Supervisor(console, os.environ)

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, then wait for `stop`; nothing started here outlives the call."""
        self._folder.open()
        if self._options.reset:
            self._folder.reset()
        starting = asyncio.create_task(self._start(), name="start")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                await stopping
        finally:
            for task in (starting, stopping):
                task.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)
            self._console.write("")
            await self._supervisor.stop()
            self._console.step("everything is stopped")

    def _port(self, wanted: int, what: str) -> int:
        port = next_free(wanted, taken=frozenset(self._taken))
        if port != wanted:
            self._console.trouble(f"port {wanted} is taken: {what} uses {port}")
        self._taken.add(port)
        return port

    async def _start(self) -> None:
        options, supervisor = self._options, self._supervisor
        web_port = self._port(options.port, "the web page")
        environment = self._settings(web_port)
        supervisor.environment |= environment
        python = sys.executable
        postgres, valkey = await asyncio.to_thread(self._prepare_servers)
        if not options.no_simulator:
            # Started with the servers: it needs neither of them, and the preparation logs in to it.
            simulator = Service("simulator", [python, "manage.py", "run_simulator"])
            supervisor.start(simulator)
        await asyncio.gather(self._start_postgres(postgres), self._start_valkey(valkey))
        self._folder.write_runtime(
            {name: supervisor.environment[name] for name in (*environment, "DATABASE_URL", "REDIS_URL")}
        )
        if not options.no_simulator:
            port = int(environment["SIMULATOR_PORT"])
            await supervisor.wait_ready(simulator, lambda: not is_free(port), READY_SECONDS)
            self._console.step("the simulated broker is up", environment["KITE_API_ROOT"])
        prepared = await self._prepare()
        server = [python, "-m", "daphne", "--bind", LOOPBACK, "--port", str(web_port), "--verbosity", "0"]
        # Daphne has no back-pressure: its pings end a browser that stopped reading.
        server += ["--ping-interval", "5", "--ping-timeout", "10", "--no-server-name"]
        web = Service("web", [*server, "tickerproject.asgi:application"])
        # The stream first: it has the longer way to the first price.
        supervisor.start(Service("stream", [python, "manage.py", "run_stream"]))
        supervisor.start(web)
        address = f"http://{LOOPBACK}:{web_port}"
        await supervisor.wait_ready(web, lambda: not is_free(web_port), READY_SECONDS)
        self._console.step("the web server is up", address)
        api_key = self._api_key(prepared)
        first = await first_price.seconds_until(address, api_key, prepared["chains"], FIRST_PRICE_SECONDS)
        self._block(address, prepared, api_key, first)
        celery = [python, "-m", "celery", "--app", "tickerproject", "--quiet"]
        worker = [
            *celery,
            "worker",
            "--pool",
            "threads",
            "--concurrency",
            "8",
            "--without-gossip",
            "--without-mingle",
            "--loglevel",
            "INFO",
        ]
        supervisor.start(Service("orders", [*worker, "--queues", "orders,sync", "--hostname", "orders@%h"]))
        supervisor.start(Service("market", [*worker, "--queues", "market,default", "--hostname", "market@%h"]))
        supervisor.start(Service("pump", [python, "manage.py", "run_orderpump"]))
        supervisor.start(Service("beat", [*celery, "beat", "--loglevel", "INFO", "--pidfile", ""]))

    def _settings(self, web_port: int) -> dict[str, str]:
        (self._folder.path / "static").mkdir(exist_ok=True)
        values = self._folder.secrets() | {
            "TICKER_DATA_DIR": str(self._folder.path),
            "LOG_FORMAT": "console",
            "PYTHONUNBUFFERED": "1",
            "ALLOWED_HOSTS": f"localhost,{LOOPBACK},[::1]",
            "WEB_ADDRESS": f"http://{LOOPBACK}:{web_port}",
            # One person looks, and wants to see what there is.
            "STREAM_DEPTH_LEVELS": "5",
        }
        if not self._options.no_simulator:
            port = self._port(SIMULATOR_PORT, "the simulated broker")
            root = f"{LOOPBACK}:{port}"
            values |= {
                "FEED_SOURCE": "simulated",
                "KITE_API_ROOT": f"http://{root}",
                "KITE_WS_ROOT": f"ws://{root}",
                "KITE_LOGIN_ROOT": f"http://{root}",
                "SIMULATOR_PORT": str(port),
                "SIMULATOR_ROWS": str(self._options.rows),
                # Sessions do not renew themselves yet, so the simulated broker keeps its tokens over the morning.
                "SIMULATOR_TOKEN_FLUSH": "false",
                "SIMULATOR_STATE_FILE": str(self._folder.path / "simulator.pickle"),
                "SIMULATOR_REDIRECT_URL": f"http://{LOOPBACK}:{web_port}/accounts/kite/callback/",
                "SIMULATOR_POSTBACK_URL": f"http://{LOOPBACK}:{web_port}/hooks/kite/{DEMO_HOOK_SLUG}",
                "MARKET_CLOCK": self._options.clock or self._default_clock(),
                "MARKET_CLOCK_SPEED": str(self._options.speed),
                "MARKET_CLOCK_ANCHOR": f"{time.time():.3f}",
            }
        return {name: os.environ.get(name, value) if name in OWN_IF_GIVEN else value for name, value in values.items()}

    def _default_clock(self) -> str:
        """Today's market, closed hours skipped; a day the calendar knows once that has ended."""
        covered_until = calendar_end(PROJECT / "market" / "data" / "session_exceptions.csv")
        if datetime.now(UTC).date() <= covered_until - CALENDAR_MARGIN:
            return "open"
        self._console.trouble(
            f"the project's market calendar ends in {covered_until:%Y}: the simulated market starts at {KNOWN_DAY}"
        )
        return KNOWN_DAY

    def _prepare_servers(self) -> tuple[Postgres | None, Valkey | None]:
        """Our own servers, ready to be started, unless the environment names others."""
        postgres = valkey = None
        if "DATABASE_URL" not in os.environ:
            postgres = Postgres(self._folder.path / "postgres", self._port(POSTGRES_PORT, "PostgreSQL"))
            if postgres.folder.parent != self._folder.path:
                self._console.trouble(
                    f"a parent folder is closed to PostgreSQL's account: its data is in {postgres.folder}"
                )
            postgres.prepare()
            self._supervisor.environment["DATABASE_URL"] = postgres.url
        if "REDIS_URL" not in os.environ:
            valkey = Valkey(self._folder.path / "valkey", self._port(VALKEY_PORT, "Valkey"))
            valkey.prepare()
            self._supervisor.environment["REDIS_URL"] = valkey.url
        return postgres, valkey

    async def _start_postgres(self, server: Postgres | None) -> None:
        if server is None:
            self._console.step("PostgreSQL is the one of DATABASE_URL")
            return
        command, popen = server.command()
        service = Service("postgres", command, signal.SIGINT, popen, quiet=True)
        self._supervisor.start(service)
        await self._supervisor.wait_ready(service, server.is_ready, READY_SECONDS)
        await asyncio.to_thread(server.create_database)
        self._console.step("PostgreSQL is up", f"{LOOPBACK}:{server.port}")

    async def _start_valkey(self, server: Valkey | None) -> None:
        if server is None:
            self._console.step("Redis is the one of REDIS_URL")
            return
        service = Service("valkey", server.command(), quiet=True)
        self._supervisor.start(service)
        await self._supervisor.wait_ready(service, server.is_ready, READY_SECONDS)
        self._console.step("Valkey is up", f"{LOOPBACK}:{server.port}")

    async def _prepare(self) -> dict[str, Any]:
        flags = [] if self._options.no_simulator else ["--demo"]
        output = await self._supervisor.run_once("prepare", [sys.executable, "manage.py", "prepare", "--json", *flags])
        prepared: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
        self._console.step("the database is ready", prepared["summary"])
        return prepared

    def _api_key(self, prepared: dict[str, Any]) -> str | None:
        """The demo's key. It is shown once by the service, which keeps a hash; this run keeps it in a private file."""
        path = self._folder.path / DEMO_KEY
        if prepared["api_key"]:
            write_private(path, {"API_KEY": prepared["api_key"]})
        return read_env(path)["API_KEY"] if path.exists() else None

    def _block(self, address: str, prepared: dict[str, Any], api_key: str | None, first: float | None) -> None:
        rows = [
            ("open", address + prepared["login_path"]),
            ("", "(this link logs you in once; after that: " + address + "/)"),
        ]
        admin = prepared["admin_username"]
        if prepared["admin_password"]:
            rows.append(("admin", f"{admin}, password {prepared['admin_password']} (shown only now)"))
        else:
            rows.append(("admin", f"{admin}; a new link: .venv/bin/python manage.py login_link {admin}"))
        if api_key:
            rows.append(("API key", api_key))
            rows.append(("", f"curl -H 'X-API-Key: …' {address}/api/v1/subscriptions"))
        rows.append(("data", str(self._folder.path)))
        rows.append(("stop", "Ctrl-C"))
        if first is None:
            self._console.trouble("no price has arrived yet: the log below says what the stream waits for")
            title = "ticker is running"
        else:
            title = f"ticker is running: first price {time.monotonic() - self._console.started:.1f} s after the start"
        self._console.block(title, rows)


async def run(options: argparse.Namespace, console: Console) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    try:
        await LocalRun(options, console).run(stop)
    except (DataFolderError, NoFreePort, PostgresUnavailable, ValkeyUnavailable, ServiceFailed) as exc:
        console.error(str(exc))
        return 1
    return 0


def main() -> None:
    os.chdir(PROJECT)
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(asyncio.run(run(arguments(sys.argv[1:]), Console())))


if __name__ == "__main__":
    main()

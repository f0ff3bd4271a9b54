"""The one-machine run for tests: started in a folder of its own, asked, and stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tickerproject.local.ports import any_free
from tickerproject.local.state import read_env

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 120


@dataclass
class Run:
    process: "subprocess.Popen[bytes]"
    folder: Path
    port: int
    log: Path

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_key(self) -> str:
        return read_env(self.folder / "demo-api-key.env")["API_KEY"]

    def get(self, path: str) -> Any:
        request = urllib.request.Request(self.address + path, headers={"X-API-Key": self.api_key})
        with urllib.request.urlopen(request, timeout=15) as response:
            return json.load(response)

    def wait_for(self, pattern: str, seconds: float = START_SECONDS) -> "re.Match[str]":
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            assert self.process.poll() is None, f"bin/run ended:\n{self.text[-3000:]}"
            assert time.monotonic() < deadline, f"{pattern!r} never came:\n{self.text[-3000:]}"
            time.sleep(0.05)
        return found


def start(folder: Path, log: Path, *options: str, **settings: str) -> Run:
    """Started with these command line options and environment variables."""
    port = any_free()
    outside = {
        "DATABASE_URL",
        "REDIS_URL",
        "TICKER_DATA_DIR",
        "SECRET_KEY",
        "CREDENTIAL_KEYS",
        "MARKET_CLOCK",
        "FEED_SOURCE",
        "ENVIRONMENT",
    }
    environment = {name: value for name, value in os.environ.items() if name not in outside} | settings
    command = [sys.executable, "-m", "tickerproject.local", "--port", str(port), "--data", str(folder), *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    return Run(process, folder, port, log)


def stop(run: Run, how: signal.Signals = signal.SIGINT) -> None:
    if run.process.poll() is None:
        run.process.send_signal(how)
    run.process.wait(60)

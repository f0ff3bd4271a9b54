"""One process per mutant: forked with everything loaded but the module itself, which it then imports with the error.

Nothing is written anywhere, no server is started, and a mutant that hangs, crashes or eats memory ends only itself.
"""

import ast
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import django
import hypothesis
import pytest
from hypothesis import Phase

from tickerproject.testing import environment
from tickerproject.testing.mutation.mutants import Mutant, mutants_of

MEMORY_BYTES = 4 * 2**30
SHORTEST_LIMIT_SECONDS = 15.0
TIMES_AS_LONG = 5
# The parser's and greeks' tests ask no server, so the plugin that starts them is left out. A failing example need not
# be made smaller, and the same examples every time make the same mutants survive.
_PYTEST = ["-x", "-q", "--tb=no", "-o", "addopts=", "-p", "no:valkey", "-p", "no:cacheprovider", "-m", "not long"]
_PYTEST += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of plugins that are loaded before the fork
_PROFILE = "mutation"
_LIBRARIES = ("scipy.special", "scipy.optimize", "mpmath", "hypothesis.strategies", "kiteconnect")


class Fate(StrEnum):
    KILLED = "killed"
    TIMED_OUT = "timed out"
    SURVIVED = "survived"


class ProofBroken(Exception):
    """The proof cannot be made; the message says why."""


@dataclass(frozen=True)
class Outcome:
    mutant: Mutant
    fate: Fate


class Module:
    """A module to be mutated: its source is read and parsed, and never imported in this process."""

    def __init__(self, name: str) -> None:
        """Raises ProofBroken if it is loaded already: then no fork could load it anew."""
        found = importlib.machinery.PathFinder.find_spec(name.rpartition(".")[2], _folder_of_package(name))
        if found is None or found.origin is None:
            raise ProofBroken(f"there is no module {name}")
        if name in sys.modules:
            raise ProofBroken(f"{name} is loaded already")
        self.name = name
        self.path = Path(found.origin)
        self.tree = ast.parse(self.path.read_text(), str(self.path))
        self.mutants = mutants_of(self.tree)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the changed module to whoever imports it."""

    def __init__(self, module: Module) -> None:
        self._module = module

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != self._module.name:
            return None
        return importlib.util.spec_from_file_location(name, self._module.path, loader=self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        tree = ast.fix_missing_locations(self._module.tree)
        exec(compile(tree, str(self._module.path), "exec"), module.__dict__)  # noqa: S102  (our own source)


def _folder_of_package(name: str) -> list[str]:
    return [str(Path(*name.split(".")[:-1]).resolve())]


def prepare() -> None:
    """Load once what every fork needs: libraries, and Django with the apps' models; no module that is proved."""
    os.environ |= environment.TEST_ENVIRONMENT | {"DJANGO_SETTINGS_MODULE": "tickerproject.settings"}
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    django.setup()  # before the others: Daphne minds who loads Twisted first
    for name in _LIBRARIES:
        importlib.import_module(name)
    hypothesis.settings.register_profile(
        _PROFILE, derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate]
    )
    gc.collect()
    gc.freeze()  # pytest collects at its end, in every fork: what is loaded by now need not be looked at again


def seconds_unchanged(module: Module, tests: Sequence[str]) -> float:
    """How long the tests take on the module as it is. Raises ProofBroken unless they pass."""
    started = time.monotonic()
    with tempfile.NamedTemporaryFile() as output:
        _, status = os.waitpid(_fork(module, None, tests, output.fileno()), 0)
        if status != 0:
            told = Path(output.name).read_text(errors="replace")
            raise ProofBroken(f"the tests of {module.name} do not pass on it as it is:\n{told[-4_000:]}")
    return time.monotonic() - started


def run(
    module: Module, mutants: Sequence[Mutant], tests: Sequence[str], *, limit_seconds: float, workers: int
) -> Iterator[Outcome]:
    """Try each mutant in a process of its own, `workers` at a time."""
    waiting = list(reversed(mutants))
    running: dict[int, tuple[Mutant, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                mutant = waiting.pop()
                running[_fork(module, mutant, tests)] = mutant, time.monotonic() + limit_seconds
            time.sleep(0.01)
            for pid, (mutant, deadline) in list(running.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    del running[pid]
                    yield Outcome(mutant, Fate.SURVIVED if status == 0 else Fate.KILLED)
                elif time.monotonic() > deadline:
                    del running[pid]
                    _end(pid)
                    yield Outcome(mutant, Fate.TIMED_OUT)
    finally:
        for pid in running:
            _end(pid)


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _fork(module: Module, mutant: Mutant | None, tests: Sequence[str], output: int | None = None) -> int:
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    code = 1
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        for stream in (1, 2):
            os.dup2(nowhere if output is None else output, stream)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if mutant is not None:
            mutant.make()
        sys.meta_path.insert(0, _Finder(module))
        code = int(pytest.main([*_PYTEST, f"--hypothesis-profile={_PROFILE}", *tests]))
        if module.name not in sys.modules and code == 0:
            code = 1 if mutant else 2  # tests that never import it prove nothing
    finally:
        os._exit(code)
    raise AssertionError("unreachable")

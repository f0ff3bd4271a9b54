"""What the one-machine run prints: steps, prefixed lines of the processes, and one block that says where to go."""

import os
import re
import sys
import time
from dataclasses import dataclass, field
from typing import TextIO

RESET = "\033[0m"
ESCAPES = re.compile(r"\033\[[0-9;]*m")
# Readable on dark and on light terminals; red and yellow are kept for trouble.
COLOURS = (36, 35, 34, 32, 96, 95, 94, 92)


@dataclass
class Console:
    """A terminal, or a file: then without colours. `NO_COLOR` is respected."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    colours: bool | None = None
    width: int = 9
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.colours is None:
            forced = bool(os.environ.get("FORCE_COLOR"))
            self.colours = forced or (self.out.isatty() and not os.environ.get("NO_COLOR"))

    def paint(self, text: str, code: str) -> str:
        """`text` in the colour `code` ("1" bold, "2" dim, "31" red …)."""
        return f"\033[{code}m{text}{RESET}" if self.colours else text

    def write(self, line: str) -> None:
        self.out.write(line + "\n")
        self.out.flush()

    def step(self, text: str, detail: str = "") -> None:
        """A step that is done, with the seconds since the start."""
        seconds = f"{time.monotonic() - self.started:5.1f} s"
        self.write(f"{self.paint(seconds, '2')}  {self.paint('✓', '32')} {text}  {self.paint(detail, '2')}".rstrip())

    def trouble(self, text: str) -> None:
        """Something a person may want to know or do."""
        self.write(f"{self.paint('!', '1;33')} {text}")

    def error(self, text: str) -> None:
        """Why it stops, in one line."""
        self.write(f"{self.paint('✗', '1;31')} {text}")

    def line(self, name: str, colour: int, text: str) -> None:
        """A line of a process, behind its name."""
        prefix = self.paint(f"{name:<{self.width}}│", str(colour))
        if " [error" in text or " [critical" in text or text.startswith("Traceback"):
            text = self.paint(ESCAPES.sub("", text), "31")
        elif " [warning" in text:
            text = self.paint(ESCAPES.sub("", text), "33")
        self.write(f"{prefix} {text}")

    def block(self, title: str, rows: list[tuple[str, str]]) -> None:
        """The block that tells where to go: a title and named rows in a frame."""
        label = max(len(name) for name, _ in rows)
        plain = [f"{name:<{label}}  {value}" for name, value in rows]
        inner = max(len(line) for line in [*plain, title]) + 2

        def frame(text: str) -> str:
            return self.paint(text, "32")

        self.write("")
        self.write(frame("╭" + "─" * inner + "╮"))
        self.write(frame("│") + f" {self.paint(title, '1')}{' ' * (inner - len(title) - 1)}" + frame("│"))
        self.write(frame("├" + "─" * inner + "┤"))
        for (name, value), line in zip(rows, plain, strict=True):
            text = f" {self.paint(f'{name:<{label}}', '2')}  {value}{' ' * (inner - len(line) - 1)}"
            self.write(frame("│") + text + frame("│"))
        self.write(frame("╰" + "─" * inner + "╯"))
        self.write("")

"""What is proved: modules, the tests that have to notice, the share to reach, and survivors that are no errors."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Equivalent:
    """A mutant that no test can notice, and why. Named as the report prints it; `before` and `after` are source."""

    module: str
    scope: str
    before: str
    after: str
    reason: str

    @property
    def change(self) -> tuple[str, str, str]:
        return self.scope, self.before, self.after


@dataclass(frozen=True)
class Proof:
    """`tests_of` has the tests of each module. The proof fails below `share` killed of all that are not equivalent."""

    name: str
    tests_of: dict[str, tuple[str, ...]]
    share: float
    most_mutants: int
    """Of each module. Of more, this many are drawn, the same ones every time."""
    equivalents: tuple[Equivalent, ...] = ()


_STREAMING = "streaming/tests/"
_GREEKS = ("arrays", "kernel", "black76", "black_scholes", "normalised", "implied_volatility", "parity", "expiry")
PROOFS = (
    Proof(
        "parser",
        {
            "streaming.packets": (f"{_STREAMING}test_packets.py",),
            "streaming.tick_dicts": (f"{_STREAMING}test_packets.py",),
            "streaming.validation": (f"{_STREAMING}test_validation.py", f"{_STREAMING}test_ticks.py"),
        },
        share=0.90,
        most_mutants=1_000,
    ),
    Proof(
        "greeks",
        {
            f"greeks.{name}": ("greeks",)
            for name in (
                "arrays",
                "kernel",
                "black76",
                "black_scholes",
                "normalised",
                "implied_volatility",
                "parity",
                "expiry",
            )
        },
        share=0.80,
        most_mutants=80,
    ),
)

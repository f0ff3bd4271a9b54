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


_ONE_BYTE = "a segment is one byte: the entry behind the 256th is never read"
_ONLY_ONE = "a tuple of one"
_SAME_RANGE = "the last step ends before either limit"
_NO_NINTH = "there are eight numbers"
_ALL_ALIKE = "they are all alike there"
_SHORTCUT = "a shortcut: the longer way comes to the same"
_PARSER = (
    Equivalent("streaming.packet_fields", "", "np.full(256, 100.0)", "np.full(257, 100.0)", _ONE_BYTE),
    Equivalent("streaming.packet_fields", "", "slice(7, 8)", "slice(7, 9)", _NO_NINTH),
    Equivalent("streaming.packet_fields", "", "slice(0, 8)", "slice(0, 9)", _NO_NINTH),
    Equivalent(
        "streaming.packet_fields",
        "change_percent",
        "np.count_nonzero(close) < len(close)",
        "np.count_nonzero(close) <= len(close)",
        _SHORTCUT,
    ),
    Equivalent("streaming.packets", "decode_window", "lengths == lengths[0]", "lengths != lengths[0]", _SHORTCUT),
    Equivalent("streaming.packets", "decode_window", "lengths[0]", "lengths[-1]", _ALL_ALIKE),
    Equivalent(
        "streaming.packets", "_even_window", "frames[0]", "frames[-1]", "whether all have one length, any of them tells"
    ),
    Equivalent(
        "streaming.packets",
        "_even_window",
        "frames[0][2:4]",
        "frames[0][3:4]",
        "every known length fits into one byte, and both bytes are compared in the end",
    ),
    Equivalent(
        "streaming.packets",
        "_even_window",
        "zip(frames, counts, strict=True)",
        "zip(frames, counts, strict=False)",
        "the counts are made from the frames, one for each",
    ),
    *(
        Equivalent(
            "streaming.tick_dicts",
            "decode_frame_to_dicts",
            "size < 4",
            after,
            "a shortcut: in so few bytes no packet is found without it either",
        )
        for after in ("size <= 4", "size < 5", "size < 3")
    ),
    Equivalent(
        "streaming.tick_dicts",
        "decode_frame_to_dicts",
        "_COUNT.unpack_from(whole)[0]",
        "_COUNT.unpack_from(whole)[-1]",
        _ONLY_ONE,
    ),
    Equivalent(
        "streaming.tick_dicts", "_ticks", "unpack_length(frame, place)[0]", "unpack_length(frame, place)[-1]", _ONLY_ONE
    ),
    Equivalent("streaming.tick_dicts", "", "range(16, 31, 3)", "range(16, 30, 3)", _SAME_RANGE),
    Equivalent("streaming.tick_dicts", "", "range(31, 46, 3)", "range(31, 45, 3)", _SAME_RANGE),
    Equivalent(
        "streaming.validation",
        "Policy.bands",
        "np.full(256, self.price_band)",
        "np.full(257, self.price_band)",
        _ONE_BYTE,
    ),
)
_STREAMING = "streaming/tests/"
PROOFS = (
    Proof(
        "parser",
        {
            "streaming.packets": (f"{_STREAMING}test_packets.py",),
            "streaming.packet_fields": (f"{_STREAMING}test_packets.py", f"{_STREAMING}test_ticks.py"),
            "streaming.tick_dicts": (f"{_STREAMING}test_packets.py",),
            "streaming.validation": (f"{_STREAMING}test_validation.py", f"{_STREAMING}test_ticks.py"),
        },
        share=0.97,
        most_mutants=1_000,
        equivalents=_PARSER,
    ),
    Proof(
        "greeks",
        {
            f"greeks.{name}": ("greeks",)
            for name in ("arrays", "kernel", "second_order", "normalised", "implied_volatility", "parity", "expiry")
        },
        share=0.80,
        most_mutants=30,
    ),
)

"""`python -m benchmarks soak`: orders through a broker, servers and processes that fail, and what came of them."""

import argparse
import sys
from collections.abc import Sequence

from benchmarks.soak.checker import Findings
from benchmarks.soak.mutations import MUTATIONS
from benchmarks.soak.run import Report, Soak
from tickerproject.local.console import Console

BAR, SHOWN = 40, 10
GREEN, RED, BOLD = "32", "1;31", "1"


def main(argv: Sequence[str]) -> int:
    """0 if nothing was lost, doubled, misdirected or stuck."""
    options = arguments(argv)
    console = Console(sys.stderr)
    clean = True
    with Soak(options.seed, accounts=options.accounts, without=options.without, keep=options.keep) as soak:
        for seed in options.seed:
            report, findings = soak.hold(seed, options.orders, rate=options.rate, on_progress=_show)
            _end_bar()
            clean &= findings.are_none
            _complain(console, findings)
            if options.json:
                print(report.as_json(), flush=True)
            else:
                tell(Console(), report)
        if options.keep:
            console.trouble(f"logs and data stay in {soak.rig.path}")
    return 0 if clean else 1


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks soak", description=__doc__)
    parser.add_argument("--orders", type=_above_0, default=400, help="new ones; changes and cancels come on top (400)")
    parser.add_argument(
        "--seed",
        type=_above_0,
        nargs="+",
        default=[1],
        help="of faults, kills and clients; several: in turns",
    )
    parser.add_argument("--accounts", type=_above_0, default=8, help="of the broker, each with its own client (8)")
    parser.add_argument("--rate", type=float, default=25.0, help="new orders a second, of all clients together (25)")
    parser.add_argument(
        "--without", choices=sorted(MUTATIONS), default="", help="take a protection out: then the soak has to fail"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each seed")
    parser.add_argument("--keep", action="store_true", help="do not delete the logs and the database")
    options = parser.parse_args(argv)
    if len(set(options.seed)) != len(options.seed):
        parser.error("each seed once: its accounts are used up afterwards")
    return options


def tell(console: Console, report: Report) -> None:
    """The report for people."""
    found = {
        "duplicates": report.duplicates,
        "lost": report.lost,
        "wrong account": report.wrong_account,
        "stuck": report.stuck,
    }
    title = f"seed {report.seed}: {report.orders} orders through {report.faults} faults and {report.kills} kills"
    console.write(console.paint(title, BOLD))
    for name, number in found.items():
        sign = console.paint("✗", RED) if number else console.paint("✓", GREEN)
        console.write(f"  {sign} {name:<14}{number}")
    console.write(
        f"  {report.unknown} of unknown outcome for a while, {report.changes} changes and cancels, "
        f"{report.refused} refused; {report.seconds:.0f} s, commit {report.commit}"
    )


def _complain(console: Console, findings: Findings) -> None:
    for name in ("duplicates", "lost", "wrong_account", "stuck"):
        sentences = getattr(findings, name)
        for sentence in sentences[:SHOWN]:
            console.error(f"{name}: {sentence}")
        if len(sentences) > SHOWN:
            console.error(f"{name}: {len(sentences) - SHOWN} more")


def _show(placed: int, orders: int) -> None:
    if sys.stderr.isatty():
        done = min(1.0, placed / orders)
        bar = "█" * round(BAR * done) + "░" * round(BAR * (1 - done))
        print(f"\r{bar} {placed:,} of {orders:,}", end="", file=sys.stderr, flush=True)


def _end_bar() -> None:
    if sys.stderr.isatty():
        print(f"\r{' ' * (BAR + 30)}\r", end="", file=sys.stderr, flush=True)


def _above_0(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)

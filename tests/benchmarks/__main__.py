"""``python -m tests.benchmarks [NAME …] [--json]``: figures of speed and memory, as ratios within one run."""

import argparse
import asyncio
import inspect
import json
import sys
from importlib import import_module

from tests.benchmarks.measuring import Figure, machine, measure_at_most

NAMES = ("plan", "tick", "ingest", "store", "settle", "ledger", "fanout", "stop", "pages", "follow")


def main() -> int:
    """Run the benchmarks named, or all of them, and print one line per figure."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], help="which to run; all without a name")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--homes", type=int, metavar="N", help="measure at most so many homes")
    chosen = parser.parse_args()
    if chosen.homes is not None:
        measure_at_most(chosen.homes)
    report: dict[str, list[Figure]] = {}
    for name in chosen.names or NAMES:
        if not chosen.json:
            sys.stdout.write(f"{name}\n")
        made = import_module(f"tests.benchmarks.{name}").run()
        report[name] = asyncio.run(made) if inspect.iscoroutine(made) else made
        if not chosen.json:
            sys.stdout.write("".join(f"{figure.line()}\n" for figure in report[name]))
            sys.stdout.flush()
    if chosen.json:
        figures = {name: [figure.as_json() for figure in each] for name, each in report.items()}
        sys.stdout.write(json.dumps({"machine": machine(), "figures": figures}) + "\n")
    else:
        sys.stdout.write(", ".join(f"{name} {number}" for name, number in machine().items()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

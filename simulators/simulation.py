"""``python -m simulators``: play seeds one after the other and say what came of it."""

import argparse
import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterator

import structlog

from simulators.history_of_seed import HistoryOfSeed, Outcome
from simulators.report import Report
from simulators.stand_ins import hashed_signatures

REAL_SIGNATURES_EVERY = 10


def add_simulation_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of the simulation."""
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="first seed (default 1)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="how many, one after the other")
    parser.add_argument(
        "--hours", type=float, default=0.0, metavar="H", help="go on with more seeds up to H event-hours"
    )
    parser.add_argument("--harsh", action="store_true", help="let twice as many packets meet trouble")
    parser.add_argument("--json", action="store_true", help="print one JSON object last, and nothing else")


def play(seed: int, *, harsh: bool = False) -> Outcome:
    """Play one seed; every tenth with real Ed25519 signatures, the others with stand-ins."""
    real = seed % REAL_SIGNATURES_EVERY == 0
    with quiet(), contextlib.nullcontext() if real else hashed_signatures():
        return HistoryOfSeed(seed, harsh=harsh, real_signatures=real).play()


def run_simulation(arguments: argparse.Namespace) -> int:
    """Play the seeds, print the report, and return 1 if an invariant was broken, else 0."""
    report = Report(arguments.seed)
    seed = arguments.seed
    while report.seeds < arguments.seeds or report.event_hours < arguments.hours:
        began = time.process_time()
        outcome = play(seed, harsh=arguments.harsh)
        report.add(outcome, time.process_time() - began)
        for violation in outcome.violations:
            sys.stderr.write(violation.line() + "\n")
        seed += 1
    sys.stdout.write((json.dumps(report.facts()) if arguments.json else report.text()) + "\n")
    return 1 if report.violations else 0


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the controller's log out of the report: in a simulation every fault would fill a page."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)

"""``vpp demo``: the whole line in one command."""

import asyncio
import logging
import sys
from contextlib import ExitStack
from typing import Annotated

import structlog
import typer

from vpp.entrypoints.asking import JsonFlag, answer, fail, settings_or_exit, stderr
from vpp.entrypoints.operations.desk import OperationRefused


def demo(
    sites: Annotated[int, typer.Option(min=1, max=10_000, help="Simulated homes.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed tells the same story.")] = 1,
    scenario: Annotated[str, typer.Option(metavar="NAME", help="default, or 2022-09-06.")] = "default",
    exit_at_end: Annotated[bool, typer.Option("--exit", help="End after the table.")] = False,  # noqa: ARG001  # it always does
    as_json: JsonFlag = False,
) -> None:
    """Play a grid emergency: signal in, batteries out, owners paid, over a real MQTT broker.

    With --json the last line is one object: event_id, scenario, sites_enrolled, sites_dispatched,
    requested_wh (asked of the fleet), delivered_wh (battery output), incremental_wh (beyond the baseline),
    paid_usd (the owners' amounts of this event, pending ones included), ledger_balanced, reserve_violations,
    commands_sent, commands_acknowledged, acked_p99_s and wall_s (seconds of wall time).
    """
    from vpp.entrypoints.demo import Wanted, play  # the whole product; other commands start faster without
    from vpp.entrypoints.demo_view import LivePicture, PlainLines, show_outcome

    settings = settings_or_exit()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    with ExitStack() as screen:
        live = stderr.is_terminal and not as_json
        audience = screen.enter_context(LivePicture(stderr)) if live else PlainLines(stderr)
        try:
            outcome = asyncio.run(play(Wanted(sites, seed, scenario), settings, audience))
        except OperationRefused as refused:
            fail("\n".join((*refused.faults, refused.detail)))
    answer(outcome.summary, lambda console, _: show_outcome(console, outcome), as_json=as_json)

"""``vpp demo``: the whole line in one command."""

import asyncio
import socket
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

import typer

from vpp.entrypoints.asking import JsonFlag, answer, fail, settings_or_exit, stderr
from vpp.entrypoints.operations.desk import OperationRefused
from vpp.settings import Settings, chosen_in_environment


def demo(
    sites: Annotated[int, typer.Option(min=1, max=10_000, help="Simulated homes.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed tells the same story.")] = 1,
    scenario: Annotated[str, typer.Option(metavar="NAME", help="default, or 2022-09-06.")] = "default",
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep database and keys in a new folder, for VPP_STATE_DIR."),
    ] = None,
    exit_at_end: Annotated[bool, typer.Option("--exit", help="End after the table.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Play a grid emergency: signal in, batteries out, owners paid, over a real MQTT broker.

    While it is open every other command goes through it and by its clock: VPP_STATE_DIR=DIR vpp evidence
    export EVENT FOLDER writes all that its dollars were computed from. Afterwards, with --keep, commands
    read what it left. The pages take the port of VPP_HTTP_PORT, or a free one where that is not set.

    With --json the last line is one object: event_id, scenario, sites_enrolled, sites_dispatched,
    requested_wh (asked of the fleet), delivered_wh (battery output), incremental_wh (beyond the baseline),
    paid_usd (the owners' amounts of this event, pending ones included), ledger_balanced, reserve_violations,
    commands_sent, commands_acknowledged, acked_p99_s and wall_s (seconds of wall time).
    """
    # The whole product; other commands start faster without.
    from vpp.entrypoints.demo import Outcome, Stage, Wanted, play
    from vpp.entrypoints.demo_pages import stay_open
    from vpp.entrypoints.demo_view import LivePicture, PlainLines, show_links, show_outcome
    from vpp.entrypoints.logs import log_to_stderr

    settings = settings_or_exit()
    log_to_stderr()

    def tell(outcome: Outcome) -> None:
        answer(outcome.summary, lambda console, _: show_outcome(console, outcome), as_json=as_json)

    async def leave_open(stage: Stage, outcome: Outcome) -> None:
        screen.close()
        tell(outcome)
        announce = lambda links: show_links(stderr, links, stage.folder, stage.broker_url)  # noqa: E731  # one line says it
        await stay_open(stage, outcome, listener, announce=announce)

    with closing(_listener_or_exit(settings, exit_at_end=exit_at_end)) as listener, ExitStack() as screen:
        live = stderr.is_terminal and not as_json
        audience = screen.enter_context(LivePicture(stderr)) if live else PlainLines(stderr)
        try:
            wanted, afterwards = Wanted(sites, seed, scenario, keep), None if exit_at_end else leave_open
            outcome = asyncio.run(play(wanted, settings, audience, afterwards))
        except OperationRefused as refused:
            fail("\n".join((*refused.faults, refused.detail)))
    if exit_at_end:
        tell(outcome)


def _listener_or_exit(settings: Settings, *, exit_at_end: bool) -> socket.socket:
    """Return where the pages will be asked for, before anybody waits for the evening; or end with 1.

    A taken port is nobody's misuse: the same command succeeds once it is free, as with vpp serve. The usual
    port is that of a service which may run beside the demonstration, so only a chosen one counts.
    """
    # The whole product; other commands start faster without.
    from vpp.entrypoints.service import listen

    chosen = not exit_at_end and chosen_in_environment("http_port")
    try:
        return listen(settings.http_port if chosen else 0)
    except OperationRefused as refused:
        fail(refused.detail)

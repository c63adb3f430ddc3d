"""``vpp event watch``: a live board in the terminal, or one line of JSON for each change."""

import contextlib
import json
import sys
from collections.abc import Iterator
from urllib.parse import quote

import typer
from rich.live import Live

from vpp.entrypoints.asking import JsonFlag, fail, settings_or_exit, stderr, stdout
from vpp.entrypoints.cli_events import EventArgument
from vpp.entrypoints.operations.desk import Json, OperationRefused
from vpp.entrypoints.rendering_board import board
from vpp.entrypoints.running_service import find_service

PASSING = (
    "now",
    "remaining_s",
    "starts_in_s",
    "newest_age_s",
    "energy_needed_wh",
    "energy_left_wh",
    "unapproved_w",
    "newest",
    "forecast",
)
"""What changes because time passes; it makes no new line."""
OVER = ("ended", "cancelled")


def watch_event(event: EventArgument, as_json: JsonFlag = False) -> None:
    """Follow an event until it is over.

    A board that is redrawn each second, into a file or a pipe one for each change; with ``--json`` one line
    for each change of what is asked, measured or proved. Ends with 0 when the event is over, with 1 when the
    service goes away. Needs ``vpp serve``.
    """
    try:
        with contextlib.suppress(KeyboardInterrupt):
            if as_json:
                _print_changes(_boards(event))
            else:
                _draw(_boards(event))
    except OperationRefused as refused:
        fail(refused.detail)


def _boards(event_id: str) -> Iterator[Json]:
    service = find_service(settings_or_exit().state_dir)
    if service is None:
        raise OperationRefused("no vpp serve runs here, so there is nothing to watch; start vpp serve")
    state = ""
    for kind, value in service.follow(f"/api/v1/events/{quote(event_id, safe='')}/board/stream"):
        if kind == "board":
            state = str(value["state"])
            yield value
        else:
            stderr.print(f"vpp: {value.get('detail', kind)}", markup=False, soft_wrap=True)
    if state not in OVER:
        raise service.gone()


def _print_changes(boards: Iterator[Json]) -> None:
    for facts in _changes(boards):
        sys.stdout.write(json.dumps(facts, separators=(",", ":"), ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _changes(boards: Iterator[Json]) -> Iterator[Json]:
    """Yield the boards that say more than that time went by."""
    last: Json = {}
    for facts in boards:
        lasting = {name: value for name, value in facts.items() if name not in PASSING}
        how_far = facts["fanout"]
        assert isinstance(how_far, dict)
        lasting["fanout"] = {**how_far, "done_in_s": None}
        if lasting != last:
            yield facts
            last = lasting


def _draw(boards: Iterator[Json]) -> None:
    if not stdout.is_terminal:  # into a file or a pipe: nothing can be drawn over there
        for facts in _changes(boards):
            stdout.print(board(facts))
        return
    with Live(console=stdout, auto_refresh=False) as live:
        for facts in boards:
            live.update(board(facts), refresh=True)


def add_to(event_app: typer.Typer) -> None:
    """Add the command to the others about events."""
    event_app.command("watch")(watch_event)

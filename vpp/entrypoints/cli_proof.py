"""``vpp replay``, ``vpp backup``, ``vpp restore``: what was sent, again; and the database in a file."""

from typing import Annotated, Any

import typer
from rich.console import Console

from vpp.entrypoints.asking import JsonFlag, answer, open_desk, run, settings_or_exit
from vpp.entrypoints.operations import replay
from vpp.entrypoints.operations.desk import Json


def replay_event(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Event id.")], as_json: JsonFlag = False
) -> None:
    """Make an event's commands again; exit 1 where they differ."""
    found = run(_replay(event))
    answer(found, _show_replay, as_json=as_json)
    if found["result"] != "same":
        raise typer.Exit(1)


async def _replay(event_id: str) -> Json:
    async with open_desk(settings_or_exit()) as desk:
        return await replay.replay_event(desk, event_id=event_id)


def _show_replay(console: Console, found: dict[str, Any]) -> None:
    console.print(
        f"{found['event_id']}: {found['commands']} commands of {found['ticks']} ticks and "
        f"{found['revisions']} plan revisions, bodies {found['bodies_sha256'][:16]}",
        soft_wrap=True,
    )
    console.print("same" if found["difference"] is None else found["difference"], soft_wrap=True)

"""``vpp replay``, ``vpp backup``, ``vpp restore``: what was sent, again; and the database in a file."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vpp.entrypoints import rendering
from vpp.entrypoints.asking import (
    JsonFlag,
    answer,
    ask,
    fail,
    open_desk,
    require_state_dir,
    run,
    settings_or_exit,
)
from vpp.entrypoints.operations import keeping, otherwise, replay
from vpp.entrypoints.operations.desk import Json
from vpp.entrypoints.running_service import find_service


def replay_event(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Event id.")],
    floor: Annotated[
        str | None, typer.Option("--floor", metavar="PCT", help="Plan it with this reserve floor instead.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make an event's plans, ticks and commands again; exit 1 where they differ."""
    if floor is not None:
        answer(ask(otherwise.replay_otherwise, event_id=event, floor=floor), _show_other, as_json=as_json)
        return
    found = run(_replay(event))
    answer(found, _show_replay, as_json=as_json)
    if found["result"] != "same":
        raise typer.Exit(1)


async def _replay(event_id: str) -> Json:
    async with open_desk(settings_or_exit()) as desk:
        return await replay.replay_event(desk, event_id=event_id)


def _show_replay(console: Console, found: dict[str, Any]) -> None:
    rendering.show_mark(console, found)
    console.print(
        f"{found['event_id']}: {found['commands']} commands; {found['ticks_made_again']} of {found['ticks']} "
        f"ticks and {found['plans_made_again']} of {found['revisions']} plans made again, "
        f"bodies {found['bodies_sha256'][:16]}",
        soft_wrap=True,
    )
    console.print("same" if found["difference"] is None else found["difference"], soft_wrap=True)


def _show_other(console: Console, found: dict[str, Any]) -> None:
    columns = ("at", "asked", "planned", "with the floor", "short", "homes", "with the floor")
    rows = [
        (
            rendering.clock_second(each["at"], found["time_zone"]),
            rendering.kilowatts(each["asked_w"]),
            rendering.kilowatts(each["planned_w"]),
            rendering.kilowatts(each["other_planned_w"]),
            rendering.kilowatts(each["other_shortfall_w"]),
            each["sites"],
            each["other_sites"],
        )
        for each in found["plans"]
    ]
    console.print(rendering.table(*columns, rows=rows))
    console.print(
        f"planned {rendering.kilowatt_hours(found['planned_wh'])}, with a floor of {found['floor_pct']:g} % "
        f"{rendering.kilowatt_hours(found['other_planned_wh'])}; {found['note']}",
        soft_wrap=True,
    )


def back_up(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that does not exist yet.")],
    as_json: JsonFlag = False,
) -> None:
    """Write the whole database into one file."""
    settings = settings_or_exit()
    require_state_dir(settings.state_dir)
    answer(run(keeping.back_up_database(settings.store_url, file)), _show_counts, as_json=as_json)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What vpp backup wrote.")],
    as_json: JsonFlag = False,
) -> None:
    """Fill an empty database from a backup."""
    settings = settings_or_exit()
    require_state_dir(settings.state_dir)
    service = find_service(settings.state_dir)
    if service is not None:
        fail(f"vpp serve (process {service.pid}) runs on {settings.state_dir}; end it before a restore")
    answer(run(keeping.restore_database(file, settings.store_url)), _show_counts, as_json=as_json)


def _show_counts(console: Console, found: dict[str, Any]) -> None:
    console.print(f"{found['file']}: {found['rows']} rows", markup=False, soft_wrap=True)
    console.print(found["note"], markup=False, soft_wrap=True)

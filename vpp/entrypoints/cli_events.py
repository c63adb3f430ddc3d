"""``vpp event``: what the grid asks, and what a person decides about it."""

import inspect
from typing import Annotated, Any

import typer
from rich.console import Console

from vpp.entrypoints import rendering, rendering_capacity
from vpp.entrypoints.asking import AsOption, JsonFlag, actor, answer, ask, fail, proof_of
from vpp.entrypoints.operations import changing, evening, events, preview, rehearsal, starting

event_app = typer.Typer(no_args_is_help=True, help="Grid events.")

EventArgument = Annotated[str, typer.Argument(metavar="EVENT", help="Event id.")]


@event_app.command("list", help=inspect.getdoc(events.list_events))
def list_events(as_json: JsonFlag = False) -> None:
    """List all events."""
    answer(ask(events.list_events), rendering.show_events, as_json=as_json)


@event_app.command("show", help=inspect.getdoc(events.show_event))
def show_event(event: EventArgument, as_json: JsonFlag = False) -> None:
    """Show one event."""
    answer(ask(events.show_event, event_id=event), rendering.show_event, as_json=as_json)


@event_app.command("course", help=inspect.getdoc(evening.show_evening))
def show_course(event: EventArgument, as_json: JsonFlag = False) -> None:
    """Show how an event went, tick by tick."""
    answer(ask(evening.show_evening, event_id=event), _show_course, as_json=as_json)


def _show_course(console: Console, found: Any) -> None:
    rendering.show_mark(console, found)
    if found["frames"]:
        console.print(f"from {rendering.local(found['frames'][0]['at'], found['time_zone'])} on")
    columns = ("at", "asked", "planned", "measured", "estimated", "short", "homes", "told")
    rows = [
        (
            rendering.clock_second(each["at"], found["time_zone"]),
            rendering.kilowatts(each["requested_w"]),
            rendering.kilowatts(each["planned_w"]),
            "not known" if each["measured_w"] is None else rendering.kilowatts(each["measured_w"]),
            rendering.kilowatts(each["estimated_w"]) if each["estimated_w"] else "-",
            rendering.kilowatts(each["shortfall_w"]),
            each["sites"],
            each["commands"],
        )
        for each in found["frames"]
    ]
    console.print(rendering.table(*columns, rows=rows, right=columns[1:]))


@event_app.command("force", help=inspect.getdoc(events.force_event))
def force_event(event: EventArgument, login: AsOption = None, as_json: JsonFlag = False) -> None:
    """Dispatch an event that lies outside its program."""
    found = ask(events.force_event, event_id=event, actor=actor(), **proof_of(login))
    answer(found, rendering.show_facts, as_json=as_json)


@event_app.command("cancel", help=inspect.getdoc(events.cancel_event))
def cancel_event(event: EventArgument, as_json: JsonFlag = False) -> None:
    """End an event now."""
    found = ask(events.cancel_event, event_id=event, actor=actor())
    answer(found, rendering.show_facts, as_json=as_json)


Program = Annotated[str, typer.Option("--program", metavar="PROGRAM", help="Whose homes.")]
Power = Annotated[str, typer.Option("--mw", metavar="MW", help="Megawatts, or all that can be sustained.")]
Start = Annotated[str, typer.Option("--at", metavar="TIME", help="now, or a time like 2026-09-09T18:00.")]
Minutes = Annotated[int, typer.Option("--minutes", help="The length.")]
Hours = Annotated[int, typer.Option("--hours", help="The length in hours, in place of minutes.")]
Target = Annotated[
    list[str] | None, typer.Option("--target", help="A utility, group, county or feeder; may come again.")
]


def length_of(minutes: int, hours: int) -> int:
    """Return the length in minutes; hours win where they are given."""
    return hours * 60 or minutes


@event_app.command("preview", help=inspect.getdoc(preview.preview_event))
def preview_event(
    program: Program,
    power_mw: Annotated[str, typer.Option("--mw", metavar="MW", help="Megawatts, or all.")] = "all",
    starts_at: Start = "now",
    minutes: Minutes = 60,
    hours: Hours = 0,
    target: Target = None,
    confidence: Annotated[int, typer.Option(metavar="PCT", help="How surely, 50-99.")] = 90,
    test: Annotated[bool, typer.Option("--test", help="Never paid, never counted.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Say what an event would get."""
    found = ask(
        preview.preview_event, program_id=program, power_mw=power_mw, starts_at=starts_at,
        minutes=length_of(minutes, hours), targets=target or [], confidence_pct=confidence, test=test,
    )  # fmt: skip
    answer(found, rendering_capacity.show_preview, as_json=as_json)


@event_app.command("rehearse", help=inspect.getdoc(rehearsal.rehearse_event))
def rehearse_event(
    event: Annotated[str, typer.Argument(metavar="[EVENT]", help="An event that stands.")] = "",
    program: Annotated[str, typer.Option("--program", metavar="PROGRAM", help="Whose homes.")] = "",
    power_mw: Annotated[str, typer.Option("--mw", metavar="MW", help="Megawatts, or all.")] = "all",
    starts_at: Start = "now",
    minutes: Minutes = 60,
    hours: Hours = 0,
    target: Target = None,
    as_json: JsonFlag = False,
) -> None:
    """Run an event in virtual time."""
    if bool(event) == bool(program):
        fail("name an event that stands, or a program with --program", code=2)
    found = ask(
        rehearsal.rehearse_event, event_id=event, program_id=program, power_mw=power_mw,
        starts_at=starts_at, minutes=length_of(minutes, hours), targets=target or [],
    )  # fmt: skip
    answer(found, rendering_capacity.show_rehearsal, as_json=as_json)


@event_app.command("start", help=inspect.getdoc(starting.start_event))
def start_event(
    event: EventArgument,
    program: Program,
    power_mw: Power,
    starts_at: Start = "now",
    minutes: Minutes = 60,
    hours: Hours = 0,
    target: Target = None,
    name: Annotated[
        str, typer.Option(help="What people call it; with TEST as its first word it is a test.")
    ] = "",
    test: Annotated[bool, typer.Option("--test", help="Never paid, never counted.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Start an event of one's own."""
    found = ask(
        starting.start_event, event_id=event, program_id=program, power_mw=power_mw, starts_at=starts_at,
        minutes=length_of(minutes, hours), targets=target or [], name=name, test=test, actor=actor(),
    )  # fmt: skip
    answer(found, rendering.show_outline, as_json=as_json)


@event_app.command("approve", help=inspect.getdoc(starting.approve_event))
def approve_event(event: EventArgument, login: AsOption = None, as_json: JsonFlag = False) -> None:
    """Be the second person."""
    found = ask(starting.approve_event, event_id=event, actor=actor(), **proof_of(login))
    answer(found, rendering.show_facts, as_json=as_json)


@event_app.command("stop-all", help=inspect.getdoc(starting.stop_all))
def stop_all(as_json: JsonFlag = False) -> None:
    """Release every home."""
    answer(ask(starting.stop_all, actor=actor()), rendering.show_facts, as_json=as_json)


@event_app.command("modify", help=inspect.getdoc(changing.modify_event))
def modify_event(
    event: EventArgument,
    power_mw: Annotated[str, typer.Option("--mw", metavar="MW", help="Megawatts, or all.")] = "",
    minutes: Annotated[int, typer.Option("--minutes", help="New length from its start.")] = 0,
    hours: Hours = 0,
    target: Target = None,
    all_homes: Annotated[bool, typer.Option("--all-homes", help="Take every target away.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Change an event that stands."""
    targets = [] if all_homes else target
    found = ask(
        changing.modify_event, event_id=event, power_mw=power_mw, minutes=length_of(minutes, hours),
        targets=targets, actor=actor(),
    )  # fmt: skip
    answer(found, rendering.show_outline, as_json=as_json)

"""``vpp event``: what the grid asks, and what a person decides about it."""

import inspect
from typing import Annotated

import typer

from vpp.entrypoints import rendering
from vpp.entrypoints.asking import JsonFlag, actor, answer, ask
from vpp.entrypoints.operations import events

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


@event_app.command("force", help=inspect.getdoc(events.force_event))
def force_event(event: EventArgument, as_json: JsonFlag = False) -> None:
    """Dispatch an event that lies outside its program."""
    found = ask(events.force_event, event_id=event, actor=actor())
    answer(found, rendering.show_facts, as_json=as_json)


@event_app.command("cancel", help=inspect.getdoc(events.cancel_event))
def cancel_event(event: EventArgument, as_json: JsonFlag = False) -> None:
    """End an event now."""
    found = ask(events.cancel_event, event_id=event, actor=actor())
    answer(found, rendering.show_facts, as_json=as_json)

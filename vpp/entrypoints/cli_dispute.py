"""``vpp dispute``: what owners ask about their money, and what staff answer."""

import inspect
from typing import Annotated, Any

import typer
from rich.console import Console

from vpp.entrypoints.asking import JsonFlag, ReasonOption, actor, answer, ask
from vpp.entrypoints.operations import disputes, staff_reads

dispute_app = typer.Typer(no_args_is_help=True, help="Questions about money, and answers.")

OwnerArgument = Annotated[str, typer.Argument(metavar="OWNER")]
PeriodArgument = Annotated[
    str, typer.Argument(metavar="EVENT", help="An event, or a month, season or year as in the statement.")
]
TextArgument = Annotated[str, typer.Argument(metavar="TEXT")]


@dispute_app.command("ask", help=inspect.getdoc(disputes.ask_dispute))
def ask_dispute(
    owner: OwnerArgument, period: PeriodArgument, text: TextArgument, as_json: JsonFlag = False
) -> None:
    """Ask for an owner."""
    found = ask(disputes.ask_dispute, owner_id=owner, period=period, text=text, actor=actor())
    answer(found, _show, as_json=as_json)


@dispute_app.command("answer", help=inspect.getdoc(disputes.answer_dispute))
def answer_dispute(
    owner: OwnerArgument,
    period: PeriodArgument,
    text: TextArgument,
    correct: Annotated[bool, typer.Option("--correct", help="Settle the event again first.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Answer an owner."""
    found = ask(
        disputes.answer_dispute, owner_id=owner, period=period, text=text, actor=actor(), correct=correct
    )
    answer(found, _show, as_json=as_json)


@dispute_app.command("list", help=inspect.getdoc(staff_reads.read_disputes))
def list_disputes(
    owner: Annotated[str, typer.Option("--owner", metavar="OWNER")] = "",
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those without an answer.")] = False,
    reason: ReasonOption = staff_reads.ON_THE_COMMAND_LINE,
    as_json: JsonFlag = False,
) -> None:
    """Show all disputes."""
    found = ask(staff_reads.read_disputes, owner=owner, waiting=waiting, actor=actor(), reason=reason)
    answer(found, _show_all, as_json=as_json)


def _show(console: Console, dispute: dict[str, Any]) -> None:
    heading = f"{dispute['owner_id']}, {dispute['period']}: {dispute['state']}"
    console.print(heading, markup=False, soft_wrap=True)
    for word in dispute["words"]:
        said = f"  {word['at']} {word['kind']} by {word['actor']}: {word['text']}"
        console.print(said, markup=False, soft_wrap=True)


def _show_all(console: Console, found: dict[str, Any]) -> None:
    for dispute in found["disputes"]:
        _show(console, dispute)
    if not found["disputes"]:
        console.print("no disputes")

"""``vpp meter``, ``vpp settle``, ``vpp statement``, ``vpp ledger``: from counters to cents."""

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from vpp.entrypoints import rendering, rendering_statement
from vpp.entrypoints.asking import JsonFlag, ReasonOption, actor, answer, ask, fail, stderr, write_new
from vpp.entrypoints.cli_sites import read_file
from vpp.entrypoints.operations import cross_check, metering, money, staff_reads, statement_rows

meter_app = typer.Typer(no_args_is_help=True, help="Meter evidence.")
ledger_app = typer.Typer(no_args_is_help=True, help="The books.")


@meter_app.command("import", help=inspect.getdoc(metering.import_readings))
def import_readings(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV as in an evidence bundle's meter.csv.")],
    as_json: JsonFlag = False,
) -> None:
    """Store meter history of enrolled homes."""
    content = read_file(file)
    reached = [0, 0]
    try:
        with Progress(console=stderr, transient=True) if stderr.is_terminal else nullcontext() as bar:
            found = ask(
                metering.import_readings,
                direct={"progress": _progress(bar, reached)},
                content=content,
                file_name=str(file),
            )
    except KeyboardInterrupt:
        stored = f"{reached[0]} of {reached[1]}" if reached[1] else "nobody here knows how many"
        fail(f"interrupted: {stored} readings of {file} are stored; importing it again stores the rest")
    answer(found, rendering.show_imported, as_json=as_json)


@meter_app.command("check", help=inspect.getdoc(cross_check.check_meters))
def check_meters(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Event id.")],
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Make the hours BAD that the samples refute; for good.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Compare counters with power samples; exit 1 where they differ."""
    if quarantine:
        refused = ask(cross_check.quarantine_meters, event_id=event, actor=actor())
        answer(refused, rendering.show_quarantined, as_json=as_json)
        return
    found = ask(cross_check.check_meters, event_id=event)
    answer(found, rendering.show_meter_check, as_json=as_json)
    if found["differ"]:
        raise typer.Exit(1)


def _progress(bar: Progress | None, reached: list[int]) -> Callable[[int, int], None]:
    task = None if bar is None else bar.add_task("storing readings", total=None)

    def told(done: int, total: int) -> None:
        reached[:] = done, total
        if bar is not None and task is not None:
            bar.update(task, completed=done, total=total)

    return told


def settle(
    event: Annotated[
        str | None, typer.Argument(metavar="[EVENT]", help="Event id; without, all that are over.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Settle one event, or all that are over, from the readings there are now."""
    if event is None:
        answer(ask(money.settle_ended), rendering.show_settlements, as_json=as_json)
    else:
        answer(ask(money.settle_event, event_id=event), rendering.show_settlement, as_json=as_json)


def statement(
    owner: Annotated[str, typer.Argument(metavar="OWNER", help="Owner id.")],
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="A new CSV file: every hour with its factors."),
    ] = None,
    reason: ReasonOption = staff_reads.ON_THE_COMMAND_LINE,
    as_json: JsonFlag = False,
) -> None:
    """Show all that an owner earned, with every number behind it."""
    found = ask(staff_reads.read_statement, owner_id=owner, actor=actor(), reason=reason)
    balanced = found.get("balanced", True)
    if csv is not None and balanced:
        write_new(csv, statement_rows.statement_csv(found))
    if csv is None or as_json or not balanced:
        answer(found, rendering_statement.show_statement, as_json=as_json)
    if not balanced:
        raise typer.Exit(1)


@ledger_app.command("verify", help=inspect.getdoc(money.verify_ledger))
def verify_ledger(
    head: Annotated[
        str,
        typer.Option("--head", metavar="HASH", help="A published head; exit 1 where it is not in the books."),
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Check sums and chain of the books; exit 1 where they do not hold."""
    found = ask(money.verify_ledger, head=head)
    answer(found, rendering.show_books, as_json=as_json)
    if found["differs"] or not (found["balanced"] and found["chain_holds"]) or found["head_stands"] is False:
        raise typer.Exit(1)

"""``vpp event report``: what an event delivered, for the program."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vpp.entrypoints.asking import JsonFlag, answer, ask, fail
from vpp.entrypoints.operations import reports


def report(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Event id.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write the three files there.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show or write what a settled event delivered."""
    found = ask(reports.report_event, event_id=event)
    files = {
        "hours.csv": str(found["hours_csv"]),
        "sites.csv": str(found["sites_csv"]),
        "openadr.json": json.dumps(found["openadr_report"], indent=1) + "\n",
    }
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                (out / name).write_text(text, encoding="utf-8", newline="")
        except OSError as failure:
            fail(f"{failure.filename}: {failure.strerror}")
    answer(found, _show_hours, as_json=as_json)


def _show_hours(console: Console, found: dict[str, Any]) -> None:
    console.out(found["hours_csv"], end="", highlight=False)

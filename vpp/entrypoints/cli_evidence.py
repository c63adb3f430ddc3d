"""``vpp evidence``: a bundle from which anyone computes every watt-hour and cent again."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vpp.entrypoints.asking import JsonFlag, answer, fail, open_desk, run, settings_or_exit
from vpp.entrypoints.operations import evidence
from vpp.entrypoints.operations.desk import Json
from vpp.entrypoints.rendering import amount, kilowatt_hours, local, table
from vpp.entrypoints.rendering_statement import show_hour_reasons
from vpp.wire.evidence import EXTRA, OPTIONAL, REQUIRED
from vpp.wire.evidence_check import EvidenceReport, verify_bundle
from vpp.wire.evidence_help import formats
from vpp.wire.table import BadFile

_WITHOUT = {"manifest.json": "nothing shows that the files are as they were made"}

evidence_app = typer.Typer(no_args_is_help=True, help="Evidence bundles.")


_VERIFY_HELP = f"""Compute a bundle again, offline, and say where its own numbers differ.

Exit 0 when all agrees or was computed, 1 with the first differences. With ``--json``, of files that cannot
be read only ``agrees`` (false) and ``differences`` (what is wrong with them, by file and line) are told.

JSON: {inspect.getdoc(EvidenceReport.as_json)}

{formats()}"""


@evidence_app.command("verify", help=_VERIFY_HELP)
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with event.json and its tables.")],
    as_json: JsonFlag = False,
) -> None:
    """Compute a bundle again and say where it differs; exit 1 where it does."""
    try:
        report = verify_bundle(_read(folder))
    except OSError as failure:
        fail(f"{failure.filename}: {failure.strerror}")
    except BadFile as failure:
        if as_json:
            answer({"agrees": False, "differences": list(failure.faults)}, _show_files, as_json=True)
        fail("\n".join(failure.faults))
    answer(report.as_json(), _show_report, as_json=as_json)
    if not report.agrees:
        raise typer.Exit(1)


def _read(folder: Path) -> dict[str, bytes]:
    """Return the files of a bundle, with others that its manifest speaks of; what else lies there is left."""
    manifest = folder / "manifest.json"
    named = manifest.read_bytes() if manifest.is_file() else b""
    return {
        found.name: found.read_bytes()
        for found in sorted(folder.iterdir())
        if found.is_file()
        and (found.name in (*REQUIRED, *OPTIONAL, *EXTRA) or b'"%s"' % found.name.encode() in named)
    }


@evidence_app.command("export", help=inspect.getdoc(evidence.export_evidence))
def export(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Event id.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An empty folder, or one to be made.")],
    as_json: JsonFlag = False,
) -> None:
    """Write a settled event's bundle into a folder."""
    try:
        if folder.exists() and any(folder.iterdir()):
            fail(f"{folder} is not empty; nothing was written")
        files: Mapping[str, bytes] = run(_bundle(event))
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except OSError as failure:
        fail(f"{failure.filename}: {failure.strerror}")
    found: Json = {"event_id": event, "folder": str(folder), "files": sorted(files)}
    answer(found, _show_files, as_json=as_json)


async def _bundle(event_id: str) -> Mapping[str, bytes]:
    async with open_desk(settings_or_exit()) as desk:
        return await evidence.export_evidence(desk, event_id=event_id)


def _show_files(console: Console, found: dict[str, Any]) -> None:
    console.print(
        f"{found['event_id']}: {len(found['files'])} files in {found['folder']}; "
        f"vpp evidence verify {found['folder']} computes them again",
        markup=False,
        soft_wrap=True,
    )


SITES_IN_FULL = 10


def _show_site(console: Console, site: dict[str, Any], zone: str) -> None:
    """Print a site hour by hour with exact watt-hours, and the days behind its baseline."""
    said = f"{site['site_id']}: {site['incremental_wh']} Wh beyond the baseline"
    day = local(site["hours"][0]["starts_at"], zone).rsplit(" ", 3)[0] if site["hours"] else ""
    console.print(f"{said}, {day}" if day else said, markup=False)
    columns = ("hour", "metered Wh", "baseline Wh", "fraction", "beyond Wh", "quality")
    rows = [
        (
            local(hour["starts_at"], zone).split(" ", 4)[4],  # the table fits into 80 columns
            "–" if hour["metered_wh"] is None else hour["metered_wh"],
            "–" if hour["baseline_wh"] is None else hour["baseline_wh"],
            hour["fraction"],
            hour["incremental_wh"],
            hour["quality"],
        )
        for hour in site["hours"]
    ]
    console.print(table(*columns, rows=rows, right=columns[1:5]))
    show_hour_reasons(console, site["hours"], zone)
    console.print(f"baseline days: {', '.join(site['baseline_days']) or 'none'}", soft_wrap=True)


def _show_report(console: Console, report: dict[str, Any]) -> None:
    for site in report["sites"][:SITES_IN_FULL]:
        _show_site(console, site, report["time_zone"])
    if len(report["sites"]) > SITES_IN_FULL:
        console.print(f"hours of {len(report['sites']) - SITES_IN_FULL} more sites: --json has them all")
    rows = [
        (
            site["site_id"],
            kilowatt_hours(site["incremental_wh"]),
            amount(site["amount_usd"], report["currency"]),
            site["quality"],
        )
        for site in report["sites"]
    ]
    columns = ("site", "beyond the baseline", "amount", "quality")
    console.print(table(*columns, rows=rows, right=columns[1:3]))
    for name in report["absent"]:
        console.print(f"{name} is absent; {_WITHOUT.get(name, 'it was computed')}")
    for note in report["notes"]:
        console.print(note, markup=False, soft_wrap=True)
    for difference in report["differences"]:
        console.print(difference, markup=False, soft_wrap=True)
    verdict = "everything agrees" if report["agrees"] else "the bundle and its own numbers differ"
    console.print(
        f"{report['event_id']}: {amount(report['total_usd'], report['currency'])}; {verdict}", markup=False
    )

"""What a person sees of a demonstration: a live picture or plain lines, and a table at the end."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from vpp.entrypoints.demo import Moment, Outcome
from vpp.entrypoints.operations.desk import usd
from vpp.entrypoints.rendering import kilowatt_hours, kilowatts, table
from vpp.entrypoints.rendering_board import fanout_bars
from vpp.entrypoints.running_service import TOKEN_FILE

CALIFORNIA = ZoneInfo("America/Los_Angeles")
OWNERS_SHOWN = 5
LINE_EVERY = timedelta(minutes=15)


def clock_time(at: datetime) -> str:
    """Return the time of day in California, such as ``6:00 PM PDT``."""
    local = at.astimezone(CALIFORNIA)
    return f"{local.hour % 12 or 12}:{local:%M %p %Z}"


class PlainLines:
    """An audience without a terminal: a line now and then on stderr."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next: datetime | None = None

    def preparing(self, what: str) -> None:
        """Say what is being made."""
        self._console.print(f"preparing {what}", markup=False)

    def reading(self, done: int, total: int) -> None:
        """Say when all history is stored."""
        if done == total:
            self._console.print(f"{total} meter readings stored")

    def playing(self, moment: Moment) -> None:
        """Say where the story stands, four times an hour."""
        if self._next is None or moment.at >= self._next or moment.at == moment.ends_at:
            self._next = moment.at + LINE_EVERY
            self._console.print(_sentence(moment), markup=False, soft_wrap=True)


def _sentence(moment: Moment) -> str:
    return (
        f"{clock_time(moment.at)}: {kilowatts(moment.asked_w)} asked, "
        f"{kilowatts(moment.measured_w)} measured at {moment.sites_asked} homes "
        f"({moment.fanout.delivering} delivering, {moment.fanout.failed} failed), "
        f"charge {moment.charge_pct:.0f} %, "
        f"{moment.acknowledged} of {moment.commands} commands acknowledged"
    )


class LivePicture:
    """An audience on a terminal: a picture that stays in its place. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> "LivePicture":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def preparing(self, what: str) -> None:
        """Show what is being made."""
        self._live.update(Text(f"preparing {what} …"))

    def reading(self, done: int, total: int) -> None:
        """Show how much history is stored."""
        bar = ProgressBar(total=total, completed=done, width=40)
        self._live.update(Group(Text(f"storing {total} meter readings"), bar))

    def playing(self, moment: Moment) -> None:
        """Show one instant."""
        self._live.update(_picture(moment))


def _picture(moment: Moment) -> RenderableType:
    length = (moment.ends_at - moment.starts_at).total_seconds()
    gone = (moment.at - moment.starts_at).total_seconds()
    most = max(moment.asked_w, moment.measured_w, 1)
    return Group(
        Text(f"{clock_time(moment.at)}   grid emergency, {moment.sites_asked} homes asked"),
        ProgressBar(total=length, completed=gone, width=60),
        table(
            "", "", "",
            rows=[
                ("asked", kilowatts(moment.asked_w), _bar(moment.asked_w, most)),
                ("measured", kilowatts(moment.measured_w), _bar(moment.measured_w, most)),
                ("commands", f"{moment.acknowledged} of {moment.commands} acknowledged", ""),
                ("charge", f"{moment.charge_pct:.0f} %", _bar(round(moment.charge_pct), 100)),
            ],
        ),
        *([fanout_bars(asdict(moment.fanout))] if moment.fanout.asked else []),
    )  # fmt: skip


def _bar(part: int, whole: int) -> str:
    return "█" * round(30 * part / whole)


def show_outcome(console: Console, outcome: Outcome) -> None:
    """Print the table at the end: power, energy, dollars, and the owners who earned most."""
    summary: dict[str, Any] = outcome.summary
    hours = outcome.hours or 1.0
    console.print(outcome.homes.title, style="bold", markup=False)
    rows = [
        ("asked", kilowatts(round(summary["requested_wh"] / hours)), kilowatt_hours(summary["requested_wh"])),
        (
            "delivered",
            kilowatts(round(summary["delivered_wh"] / hours)),
            kilowatt_hours(summary["delivered_wh"]),
        ),
        ("beyond baselines", "", kilowatt_hours(summary["incremental_wh"])),
    ]
    console.print(table("", "mean power", "energy", rows=rows, right=("mean power", "energy")))
    console.print(
        f"{summary['sites_dispatched']} of {summary['sites_enrolled']} homes helped and earned "
        f"${float(summary['paid_usd']):,.2f}; reserves touched: {summary['reserve_violations']}; "
        f"the ledger {'balances' if summary['ledger_balanced'] else 'DOES NOT BALANCE'}",
        soft_wrap=True,
    )
    console.print(
        f"{summary['commands_acknowledged']} of {summary['commands_sent']} commands acknowledged, "
        f"99 % within {summary['acked_p99_s']} s; all in {summary['wall_s']} s of wall time",
        soft_wrap=True,
    )
    best = outcome.owners[:OWNERS_SHOWN]
    owners = [(owner, kilowatt_hours(energy_wh), f"${usd(amount)}") for owner, energy_wh, amount in best]
    console.print(table("owner", "delivered", "earned", rows=owners, right=("delivered", "earned")))
    if outcome.homes.record:
        _show_record(console, outcome)


def show_links(console: Console, links: Mapping[str, str], folder: Path, broker_url: str) -> None:
    """Print where the pages are (each address logs in once), and how other programs find this fleet."""
    console.print("The evening goes on. Open (each link logs in once):", markup=False)
    for name, address in links.items():
        console.print(f"  {name:<9}{address}", markup=False, soft_wrap=True)
    pages, broker = urlsplit(links["operator"]), urlsplit(broker_url)
    for line in (
        f"In another terminal every command works on this fleet: VPP_STATE_DIR={folder} vpp event list",
        f"Its messages: mosquitto_sub -h {broker.hostname} -p {broker.port} -t 'vpp/#' -t 'grid/#' -v",
        f"Its API: {pages.scheme}://{pages.netloc}/docs with the token in {folder / TOKEN_FILE}",
    ):
        console.print(line, markup=False, soft_wrap=True)
    console.print("Ctrl-C ends the demonstration.")


def _show_record(console: Console, outcome: Outcome) -> None:
    record = outcome.homes.record
    assert record is not None
    summary = outcome.summary
    delivered_wh = summary["delivered_wh"]
    assert isinstance(delivered_wh, int)
    rows = [
        (
            "this demonstration",
            summary["sites_enrolled"],
            f"{outcome.peak_w / 1e6:.1f} MW",
            _mwh(delivered_wh),
        ),
        ("public record", record["homes"], f"{record['peak_mw']} MW", f"{record['energy_mwh']} MWh"),
    ]
    columns = ("", "homes", "peak", "energy")
    console.print(table(*columns, rows=rows, right=columns[1:]))
    console.print(f"Public record: {record['what']} ({record['source']})", markup=False)


def _mwh(energy_wh: int) -> str:
    return f"{energy_wh / 1e6:.1f} MWh"

"""``vpp fleet``, ``vpp trail``, ``vpp program``: what the operator's pages show, in the terminal."""

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vpp.entrypoints import rendering
from vpp.entrypoints.asking import JsonFlag, actor, answer, ask
from vpp.entrypoints.cli_sites import read_file
from vpp.entrypoints.operations import board, counties, health, nominations, prices, rails, traffic, trail

YEAR_S = 365 * 86_400
"""A season's cap of so much binds nobody."""

fleet_app = typer.Typer(no_args_is_help=True, help="Homes as they are now.")
program_app = typer.Typer(no_args_is_help=True, help="Programs and what they allow.")
price_app = typer.Typer(no_args_is_help=True, help="Wholesale prices that weigh a month's hours.")
program_app.add_typer(price_app, name="price")


@fleet_app.command("list", help=inspect.getdoc(board.list_fleet))
def list_fleet(
    search: Annotated[str, typer.Option(help="Part of a home's id, county or feeder.")] = "",
    reason: Annotated[str, typer.Option(help="A word of the eligibility list.")] = "",
    county: Annotated[str, typer.Option(help="Only this county.")] = "",
    event: Annotated[str, typer.Option(help="Reasons in this event in place of those of now.")] = "",
    proof: Annotated[str, typer.Option(help="How far its command is proved, such as silent.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """List homes as they are now."""
    found = ask(
        board.list_fleet, search=search, reason=reason, county=county, event=event, proof=proof,
        limit=board.PAGE_MOST,
    )  # fmt: skip
    answer(found, _show_fleet, as_json=as_json)


def _show_fleet(console: Console, found: Any) -> None:
    rendering.show_mark(console, found)
    columns = ("home", "county", "feeder", "charge", "power", "asked", "reading", "proof", "reason")
    rows = [
        (
            each["site_id"],
            each["county"],
            each["feeder"],
            "-" if each["charge_pct"] is None else f"{each['charge_pct']:.0f} %",
            rendering.kilowatts(each["power_w"]) if each["power_w"] is not None else "-",
            rendering.kilowatts(each["setpoint_w"]) + (" TEST" if each["test"] else ""),
            "never" if each["age_s"] is None else f"{each['age_s']} s old",
            each["proof"],
            each["reason"],
        )
        for each in found["sites"]
    ]
    console.print(rendering.table(*columns, rows=rows, right=("charge", "power", "asked")))
    online = f"{found['total']} of {found['enrolled']} homes, {found['online']} online"
    silent = f", {found['silent']} of them silent" if found["silent"] else ""
    console.print(f"{online}, {found['asked']} asked now{silent}")


@fleet_app.command("counties", help=inspect.getdoc(counties.list_counties))
def list_counties(as_json: JsonFlag = False) -> None:
    """Show what could be had where."""
    answer(ask(counties.list_counties), _show_counties, as_json=as_json)


def _show_counties(console: Console, found: Any) -> None:
    rows = [
        (
            each["name"],
            each["sites"],
            each["online"],
            rendering.kilowatts(each["spare_w"]),
            rendering.kilowatts(each["delivered_w"]),
            rendering.kilowatts(each["estimated_w"]) if each["estimated_w"] else "-",
        )
        for each in found["counties"]
    ]
    columns = ("county", "homes", "online", "spare", "delivered", "of it estimated")
    console.print(rendering.table(*columns, rows=rows, right=columns[1:]))


@fleet_app.command("traffic", help=inspect.getdoc(traffic.show_traffic))
def show_traffic(as_json: JsonFlag = False) -> None:
    """Show what became of every message."""
    answer(ask(traffic.show_traffic), _show_traffic, as_json=as_json)


def _show_traffic(console: Console, found: Any) -> None:
    columns = ("kind", "received", "stored", "duplicate", "lost", "refused")
    rows = [
        (kind, *(counts[name] for name in columns[1:5]), sum(counts["refused"].values()))
        for kind, counts in found["topics"].items()
    ]
    console.print(rendering.table(*columns, rows=rows, right=columns[1:]))
    for fact, why in found["pending"].items():
        console.print(f"pending: {fact}: {why}", markup=False, soft_wrap=True)


@fleet_app.command("health", help=inspect.getdoc(health.show_health))
def show_health(as_json: JsonFlag = False) -> None:
    """Show how the links to the homes are."""
    answer(ask(health.show_health), _show_health, as_json=as_json)


def _show_health(console: Console, found: Any) -> None:
    answers, clocks, gaps = found["answers"], found["clocks"], found["gaps"]
    reported = ", ".join(f"{count} {word.replace('_', ' ')}" for word, count in found["reported"].items())
    console.print(f"{found['online']} of {found['enrolled']} homes online; reported: {reported}")
    console.print(
        f"answers to {answers['count']} commands: half in under {answers['p50_s'] + 1} s, 99 % in "
        f"under {answers['p99_s'] + 1} s" if answers["count"] else "no command was answered yet"
    )  # fmt: skip
    console.print(f"clocks: {clocks['off']} of {clocks['heard']} off by more than {health.CLOCK_OFF_S} s")
    for each in clocks["worst"]:
        console.print(f"  {each['site_id']}: {each['ahead_s']:+d} s", markup=False)
    console.print(f"readings passed over: {gaps['readings']} of {gaps['sites']} homes")
    cloned = found["contested"]["two_gateways"]
    if cloned["sites"]:
        console.print(
            f"two gateways at once: {cloned['sites']} homes, {', '.join(cloned['named'])}", markup=False
        )
    for each in found["certificates"]:
        ends = each["fault"] or f"ends {each['ends_at']}, in {each['days_left']} days"
        console.print(f"certificate {each['file']}: {ends}", markup=False)


@program_app.command("list", help=inspect.getdoc(rails.list_programs))
def list_programs(as_json: JsonFlag = False) -> None:
    """List programs with the hours their season has used."""
    answer(ask(rails.list_programs), _show_programs, as_json=as_json)


def _show_programs(console: Console, found: Any) -> None:
    rows = [
        (
            each["program_id"],
            _season_hours(terms) if terms else "-",
            "-" if each["nominated_w"] is None else rendering.kilowatts(each["nominated_w"]),
            _window(terms) if terms else "-",
            terms["pays"] if terms else "-",
        )
        for each in found["programs"]
        for terms in (each["terms"],)
    ]
    columns = ("program", "season", "nominated", "window", "pays")
    console.print(rendering.table(*columns, rows=rows, right=columns[1:3]))


def _window(terms: Any) -> str:
    opens, closes = terms["window_opens"], terms["window_closes"]
    return "any time" if opens == closes else f"{opens}-{closes}"


def _season_hours(terms: Any) -> str:
    """Return what a season has used; of one that is over, which it was."""
    to_come_s = terms["season_scheduled_s"]
    scheduled = f", {to_come_s / 3600:.1f} h scheduled" if to_come_s else ""
    used_s, cap_s = terms["season_used_s"] - to_come_s, terms["season_cap_s"]
    cap = ", no cap" if cap_s >= YEAR_S else f"{',' if to_come_s else ''} of {cap_s / 3600:g} h"
    used = f"{used_s / 3600:.1f} h used{scheduled}{cap}"
    return f"{used}, over, from {terms['season_starts_on']}" if terms["season_over"] else used


@program_app.command("nominate", help=inspect.getdoc(nominations.nominate_power))
def nominate(
    program: Annotated[str, typer.Argument(metavar="PROGRAM", help="Program id.")],
    month: Annotated[str, typer.Argument(metavar="MONTH", help="Such as 2026-09.")],
    power: Annotated[str, typer.Argument(metavar="MW", help="Megawatts.")],
    as_json: JsonFlag = False,
) -> None:
    """Nominate a power for one month of a program."""
    found = ask(nominations.nominate_power, program_id=program, month=month, power_mw=power, actor=actor())
    answer(found, rendering.show_facts, as_json=as_json)


@program_app.command("nominations", help=inspect.getdoc(nominations.list_nominations))
def list_nominations(
    program: Annotated[str, typer.Option(help="Only of this program.")] = "", as_json: JsonFlag = False
) -> None:
    """List what was nominated."""
    answer(ask(nominations.list_nominations, program_id=program), _show_nominations, as_json=as_json)


@price_app.command("import", help=inspect.getdoc(prices.import_prices))
def import_prices(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV: program_id, hour_starts_at, usd_per_mwh.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Store wholesale prices."""
    found = ask(prices.import_prices, content=read_file(file), file_name=str(file), actor=actor())
    answer(found, rendering.show_facts, as_json=as_json)


def _show_nominations(console: Console, found: Any) -> None:
    columns = ("program", "month", "power", "nominated", "by")
    rows = [
        (
            each["program_id"],
            each["month"],
            rendering.kilowatts(each["power_w"]),
            rendering.local(each["nominated_at"], found["time_zone"]),
            each["actor"],
        )
        for each in found["nominations"]
    ]
    console.print(rendering.table(*columns, rows=rows, right=("power",)))


def show_trail(
    subject: Annotated[str, typer.Option(help="Only about this, such as event:ev-1.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Show who did and read what."""
    answer(ask(trail.list_trail, subject=subject), _show_trail, as_json=as_json)


def _show_trail(console: Console, found: Any) -> None:
    columns = ("actor", "action", "subject", "reason")
    rows = [
        (rendering.local_second(each["at"], found["time_zone"]), *(each[name] for name in columns))
        for each in found["entries"]
    ]
    console.print(rendering.table("at", *columns, rows=rows))


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(fleet_app, name="fleet")
    app.add_typer(program_app, name="program")
    app.command("trail", help=inspect.getdoc(trail.list_trail))(show_trail)

"""How answers look to a person on a terminal: tables, local time, kW and kWh, dollars to the cent."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vpp.entrypoints.operations import owner_money
from vpp.entrypoints.operations.tracing import without_repeats

WHOLE_ID = 30  # characters of a row's first cell that are not broken into lines

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def local(text: str | None, zone: str) -> str:
    """Return a UTC time of an answer in local words, such as ``Wed 9 Sep 6:00 PM PDT``."""
    if text is None:
        return "-"
    at = datetime.fromisoformat(text).astimezone(ZoneInfo(zone))
    return f"{at:%a} {at.day} {at:%b %Y} {at.hour % 12 or 12}:{at:%M %p %Z}"


def clock_second(text: str, zone: str) -> str:
    """Return the time of day of a UTC time of an answer, such as ``6:00:15 PM PDT``."""
    at = datetime.fromisoformat(text).astimezone(ZoneInfo(zone))
    return f"{at.hour % 12 or 12}:{at:%M:%S %p %Z}"


def local_second(text: str, zone: str) -> str:
    """Return a UTC time of an answer to the second, such as ``Wed 9 Sep 2026 6:00:15 PM PDT``."""
    at = datetime.fromisoformat(text).astimezone(ZoneInfo(zone))
    return f"{at:%a} {at.day} {at:%b %Y} {clock_second(text, zone)}"


def kilowatts(power_w: int | None) -> str:
    """Return watts as kW with one decimal, from a thousand of them on as MW."""
    if power_w is None:
        return "all"
    return f"{power_w / 1_000_000:.1f} MW" if abs(power_w) >= 1_000_000 else f"{power_w / 1000:.1f} kW"


def kilowatt_hours(energy_wh: int | str | None) -> str:
    """Return watt-hours (whole, or a fraction as text) as kWh with two decimals."""
    return "-" if energy_wh is None else f"{float(Fraction(energy_wh)) / 1000:.2f} kWh"


def exact_kilowatt_hours(energy_wh: int | str | None) -> str:
    """Return watt-hours as kWh with all their decimals, so that a sum made by hand reaches the cent."""
    return "-" if energy_wh is None else f"{owner_money.kilowatt_hours(energy_wh)} kWh"


def table(*columns: str, rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> Table:
    """Return a plain table; columns named in ``right`` are numbers. What a row is about breaks last."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    cells = [[Text(str(cell)) for cell in row] for row in rows]
    for place, name in enumerate(columns):
        # Whoever copies an id from a terminal of 80 columns must get it whole.
        widest = max((row[0].cell_len for row in cells), default=0) if place == 0 else 0
        grid.add_column(
            name,
            justify="right" if name in right else "left",
            overflow="fold",
            min_width=min(widest, WHOLE_ID),
        )
    for row in cells:
        grid.add_row(*row)
    return grid


def show_facts(console: Console, facts: dict[str, Any]) -> None:
    """Print the plain facts of an answer, one per line; times in the zone that it names, else in UTC."""
    zone = str(facts.get("time_zone", "UTC"))
    rows = [(key, _plain(value, zone)) for key, value in facts.items() if not isinstance(value, dict)]
    console.print(table("", "", rows=rows))


def _plain(value: object, zone: str) -> object:
    if value is None:
        return "-"
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        return local_second(value, zone)
    return ", ".join(str(part) for part in value) or "-" if isinstance(value, list) else value


def show_sites(console: Console, answer: dict[str, Any]) -> None:
    """Print enrolments."""
    columns = ("site", "owner", "program", "county", "feeder", "battery", "power", "reserve")
    rows = [
        (
            site["site_id"],
            site["owner_id"],
            site["program_id"],
            site["county"],
            site["feeder"],
            kilowatt_hours(site["full_energy_wh"]),
            kilowatts(site["max_discharge_w"]),
            f"{site['reserve_pct']:g} %",
        )
        for site in answer["sites"]
    ]
    console.print(table(*columns, rows=rows, right=("battery", "power", "reserve")))
    console.print(f"{len(rows)} sites")


def show_enrolled(console: Console, answer: dict[str, Any]) -> None:
    """Print how many homes a file enrolled."""
    console.print(f"{len(answer['sites'])} sites enrolled")
    for site in answer["sites"]:
        if "ends" in site:
            ended = ", ".join(site["ends"])
            console.print(f"{site['site_id']} leaves {ended} by it: tell who runs that", markup=False)


def show_mark(console: Console, answer: dict[str, Any]) -> None:
    """Print first that an event is a test, where it is one."""
    if answer["test"]:
        console.print("TEST: never paid, never counted", style="bold")


def show_trace(console: Console, answer: dict[str, Any]) -> None:
    """Print what happened between an event and a home, in order."""
    show_mark(console, answer)
    rows = [
        (
            local(each["at"], answer["time_zone"]),
            each["what"].replace("_", " "),
            "" if each["power_w"] is None else kilowatts(each["power_w"]),
            "" if each["sequence"] is None else each["sequence"],
            each["detail"]
            or (f"until {local(each['expires_at'], answer['time_zone'])}" if each["expires_at"] else ""),
        )
        for each in without_repeats(answer["steps"])
    ]
    console.print(table("at", "what", "power", "command", "detail", rows=rows, right=("power", "command")))


def show_why(console: Console, answer: dict[str, Any]) -> None:
    """Print why a home takes part or not."""
    show_mark(console, answer)
    console.print(
        f"{answer['site_id']}: {answer['sentence']} ({answer['reason'] or 'no plan yet'})", markup=False
    )
    if answer["setpoint_w"]:
        floor = answer["reserve_floor_pct"]
        console.print(f"asked for {kilowatts(answer['setpoint_w'])}, never below {floor:g} %")
    console.print(
        f"{answer['commands']} commands, {answer['acknowledged']} acknowledged"
        + (f", refused: {', '.join(answer['refused'])}" if answer["refused"] else "")
    )


def show_events(console: Console, answer: dict[str, Any]) -> None:
    """Print events, one line each."""
    columns = ("event", "state", "program", "starts", "ends", "asks", "flags")
    rows = [
        (
            event["event_id"],
            event["state"].replace("_", " "),
            event["program_id"],
            local(event["starts_at"], event["time_zone"]),
            local(event["ends_at"], event["time_zone"]),
            ", ".join(kilowatts(step["power_w"]) for step in event["steps"]) or "-",
            ", ".join([*_marks(event), *event["out_of_program"]]) or "-",
        )
        for event in answer["events"]
    ]
    console.print(table(*columns, rows=rows, right=("asks",)))


def _marks(event: dict[str, Any]) -> list[str]:
    """Return what nobody may overlook of an event: that it is a test, and what of it waits for approval."""
    marks = ["TEST"] if event["test"] else []
    if event["waiting_w"] is None:
        marks.append(f"above {kilowatts(event['authorized_w'])} waits for approval")
    elif event["waiting_w"]:
        marks.append(f"{kilowatts(event['waiting_w'])} waits for approval")
    return marks


def show_outline(console: Console, event: dict[str, Any]) -> None:
    """Print one event after something was done about it."""
    show_events(console, {"events": [event]})


def show_event(console: Console, event: dict[str, Any]) -> None:
    """Print one event with its plan, commands and settlement."""
    show_events(console, {"events": [event]})
    if event["out_of_program"]:
        console.print(f"out of program: {', '.join(event['out_of_program'])}", markup=False)
    if event["waiting_w"] != 0:
        console.print(f"a second person approves it: vpp event approve {event['event_id']}", markup=False)
    plan, commands, settlement = event["plan"], event["commands"], event["settlement"]
    if plan:
        console.print(
            f"plan {plan['revision']}: {plan['sites']} sites for {kilowatts(plan['planned_w'])} of "
            f"{kilowatts(plan['requested_w'])}, shortfall {kilowatts(plan['shortfall_w'])}, "
            + (f"down to {plan['level_pct']:.0f} %" if plan["level_pct"] else "down to their own reserves")
        )
        console.print(table("reason", "sites", rows=plan["reasons"].items(), right=("sites",)))
    refused = ", ".join(f"{count} {reason}" for reason, count in commands["refused"].items())
    console.print(
        f"{commands['sent']} commands to {commands['sites_dispatched']} sites, "
        f"{commands['accepted']} accepted" + (f", refused: {refused}" if refused else "")
    )
    if settlement:
        show_settlement(console, settlement)


def show_settlement(console: Console, settlement: dict[str, Any]) -> None:
    """Print the totals of a settlement."""
    qualities = ", ".join(f"{count} {quality}" for quality, count in settlement["qualities"].items())
    console.print(
        f"{settlement['state']} settlement of {settlement['sites']} sites ({qualities}): "
        f"{kilowatt_hours(settlement['delivered_wh'])} discharged in hours that count, "
        f"{kilowatt_hours(settlement['incremental_wh'])} beyond the baseline, "
        f"{amount(settlement['paid_usd'], settlement['currency'])} to owners"
    )


SITES_NAMED = 20


def show_imported(console: Console, found: dict[str, Any]) -> None:
    """Print how much was imported, and what of it does not count; of many homes the first."""
    refused, left_out, before = found["refused"], found["left_out"], found["stored_before"]
    known = f", {before} more were stored before" if before else ""
    console.print(
        f"{found['stored']} of {found['readings']} readings of {found['sites']} sites stored{known}"
    )
    if refused:
        count = sum(home["readings"] for home in refused)
        console.print(f"{count} of them, of {len(refused)} sites, are quarantined as BAD and pay nothing:")
    for home in refused[:SITES_NAMED]:
        console.print(f"  {home['site_id']}: {home['readings']} ({', '.join(home['reasons'])})")
    _count_the_rest(console, refused)
    for row in found["quarantined"][:SITES_NAMED]:
        console.print(f"  line {row['line']}: {row['site_id']} {row['at']}: {row['reason']}", markup=False)
    if len(found["quarantined"]) > SITES_NAMED:
        console.print(f"  and {len(found['quarantined']) - SITES_NAMED} more lines; --json names them")
    if left_out:
        console.print(
            f"Of {len(left_out)} sites what is from after their gateway's first reading is left out:"
        )
    for home in left_out[:SITES_NAMED]:
        console.print(f"  {home['site_id']}: {home['readings']} from {home['gateway_since']} on")
    _count_the_rest(console, left_out)


def _count_the_rest(console: Console, homes: list[Any]) -> None:
    if len(homes) > SITES_NAMED:
        console.print(f"  and of {len(homes) - SITES_NAMED} more sites; --json names them all")


def show_meter_check(console: Console, found: dict[str, Any]) -> None:
    """Print the homes whose counters and power samples tell different energies."""
    rows = [
        (
            each["site_id"],
            exact_kilowatt_hours(each["counted_wh"]),
            exact_kilowatt_hours(each["integrated_wh"]),
        )
        for each in found["sites"]
    ]
    if rows:
        console.print(
            table("site", "counters", "power samples", rows=rows, right=("counters", "power samples"))
        )
    console.print(
        f"{found['event_id']}: counters and power samples agree for {found['agree']} homes, differ for "
        f"{found['differ']}; for {found['unknown']} too little is known. Counters are what is paid.",
        markup=False,
    )


def show_quarantined(console: Console, found: dict[str, Any]) -> None:
    """Print the hours that are not believed from now on, and what comes next."""
    for each in found["refused"]:
        console.print(
            f"{each['site_id']}: {each['starts_at']} to {each['ends_at']} is BAD from now on: counters say "
            f"{exact_kilowatt_hours(each['counted_wh'])}, power samples "
            f"{exact_kilowatt_hours(each['integrated_wh'])}",
            markup=False,
            soft_wrap=True,
        )
    event_id = found["event_id"]
    then = f"vpp settle {event_id} takes that in, vpp correct {event_id} once it is closed"
    none = "the power samples refute no hour that is still believed"
    console.print(f"{event_id}: {then if found['refused'] else none}", markup=False, soft_wrap=True)


def show_settlements(console: Console, answer: dict[str, Any]) -> None:
    """Print the totals of several settlements."""
    for settlement in answer["events"]:
        console.print(settlement["event_id"], style="bold", markup=False)
        show_settlement(console, settlement)
    console.print(f"{len(answer['events'])} events settled")


def amount(text: str | None, currency: str) -> str:
    """Return an amount with its currency: ``$16.00``, ``AUD 18.33``."""
    return f"{'$' if currency == 'USD' else f'{currency} '}{text}"


def show_books(console: Console, answer: dict[str, Any]) -> None:
    """Print whether the books hold."""
    rows = [
        (name, f"${sums['posted_usd']}", f"${sums['pending_usd']}")
        for name, sums in answer["accounts"].items()
    ]
    console.print(table("account", "posted", "pending", rows=rows, right=("posted", "pending")))
    balanced = "sum to zero" if answer["balanced"] else "DO NOT SUM TO ZERO"
    chain = "holds" if answer["chain_holds"] else f"BROKEN: {answer['differs']}"
    entries = "The entries" if answer["entries"] is None else f"{answer['entries']} entries,"
    console.print(f"{entries} {balanced}; the chain {chain}", markup=False)
    if answer["chain_holds"] and answer["differs"]:
        console.print(answer["differs"], markup=False)
    if answer["published"]:
        console.print(answer["published"]["says"], markup=False, soft_wrap=True)

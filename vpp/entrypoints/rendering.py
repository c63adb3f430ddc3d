"""How answers look to a person on a terminal: tables, local time, kW and kWh, dollars to the cent."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vpp.entrypoints.operations import owner_money
from vpp.entrypoints.operations.tracing import without_repeats

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
    """Return a plain table; columns named in ``right`` are numbers."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        grid.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(str(cell)) for cell in row))
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
            f"down to {plan['level_pct']:.0f} %"
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


def show_statement(console: Console, statement: dict[str, Any]) -> None:
    """Print a statement hour by hour, so that its sums can be made by hand."""
    console.print(f"Statement of {statement['owner_id']}", style="bold", markup=False)
    if not statement.get("balanced", True):
        console.print(f"The books DO NOT SUM TO ZERO: {statement['differs']}", markup=False)
        return
    console.print(statement["what_counts"])
    if not statement["events"]:
        console.print("No event has been settled for a home of yours; vpp owner history says why.")
    for event in statement["events"]:
        _show_event(console, event)
    for period in statement["periods"]:
        _show_period(console, period)
    by_period = {period["program_id"] for period in statement["periods"]}
    for season in statement["seasons"]:
        if season["program_id"] in by_period:
            continue  # its events earn nothing by themselves
        console.print()
        console.print(
            f"{season['program_id']}, season from {season['season_starts_on']}: {season['events']} events, "
            f"{exact_kilowatt_hours(season['paid_wh'])} counted, "
            f"{amount(season['amount_usd'], season['currency'])}",
            markup=False,
            soft_wrap=True,
        )
    console.print()
    console.print(
        f"pending {amount(statement['pending_usd'], statement['currency'])}, "
        f"posted {amount(statement['posted_usd'], statement['currency'])}, "
        f"paid out {amount(statement['paid_out_usd'], statement['currency'])}"
    )


def _show_period(console: Console, period: dict[str, Any]) -> None:
    console.print()
    heading = f"{period['period']}  {period['site_id']}  {period['program_id']}: {period['how']}"
    console.print(heading, markup=False, soft_wrap=True)
    for part in period["parts"]:
        weight = owner_money.decimal_text(Fraction(part["weight"]))
        weighed = "" if Fraction(part["weight"]) == 1 else f", weight {weight}"
        kw = owner_money.decimal_text(Fraction(part["kw"]))
        console.print(f"  {part['event_id']}: {kw} kW{weighed}", markup=False)
    if any(Fraction(part["weight"]) != 1 for part in period["parts"]):
        console.print("  (weights are hours, times their wholesale price in $/MWh where all hours have one)")
    kw, rate = period["average_kw"], amount(period["rate_usd"], period["currency"])
    product = "" if kw is None else f"{owner_money.decimal_text(Fraction(kw))} kW × "
    console.print(
        f"{product}{rate} per {period['paid_for']}{_factors(period)}, rounded once to the cent, = "
        f"{amount(period['amount_usd'], period['currency'])} ({period['state']})",
        markup=False,
        soft_wrap=True,
    )


def _factors(earned: dict[str, Any]) -> str:
    """Return bonus and share, and the bounds where there are any."""
    bonus, currency = Decimal(earned["bonus_multiplier"]), earned["currency"]
    return (
        (f" × bonus {bonus}" if bonus != 1 else "")
        + f" × share {earned['owner_share']}"
        + (f", at most {amount(earned['cap_amount'], currency)}" if earned["cap_amount"] else "")
        + (f", at least {amount(earned['minimum_amount'], currency)}" if earned["minimum_amount"] else "")
    )


def _show_event(console: Console, event: dict[str, Any]) -> None:
    zone = event["time_zone"]
    console.print()
    console.print(f"{event['event_id']}  {event['site_id']}  {event['name']}", style="bold", markup=False)
    metered = "load" if event["meter"] == "site" else "discharged"
    columns = ("hour", "part", metered, "baseline of the part", "beyond", "quality")
    rows = [
        (
            local(hour["starts_at"], zone),
            hour["fraction"],
            exact_kilowatt_hours(hour["metered_wh"]),
            exact_kilowatt_hours(hour["baseline_wh"]),
            exact_kilowatt_hours(hour["incremental_wh"]),
            hour["quality"],
        )
        for hour in event["hours"]
    ]
    console.print(table(*columns, rows=rows, right=columns[1:5]))
    show_hour_reasons(console, event["hours"], zone)
    carried = event["carried_wh"] or 0
    if Fraction(event["incremental_wh"]) != Fraction(event["paid_wh"]) or Fraction(carried):
        before = (
            f" the season's earlier events carry {exact_kilowatt_hours(carried)} to it;" if carried else ""
        )
        console.print(
            f"the hours sum to {exact_kilowatt_hours(event['incremental_wh'])};{before} "
            f"by the program's rule {exact_kilowatt_hours(event['paid_wh'])} of it count"
        )
    console.print(f"{_worked_out(event)} ({event['state']}){_why(event)}", markup=False)
    if Fraction(event["adjustment"]) != 1:
        times = owner_money.decimal_text(Fraction(event["adjustment"]))
        console.print(
            f"baseline × {times}, the ratio of the hours beside the event to those of the days below"
        )
    if event["adjusted_by"]:
        _show_ratio(console, event["adjusted_by"], zone)
    if event["meter_accuracy_pct"]:
        console.print(f"by its class, the meter may be off by at most {event['meter_accuracy_pct']:g} %")
    if event["days_behind"]:
        hours = [local(hour["starts_at"], zone).split(" ", 4)[4] for hour in event["hours"]]
        days = [
            (each["date"], *(exact_kilowatt_hours(wh) for wh in each["metered_wh"]))
            for each in event["days_behind"]
        ]
        weighted = event["baseline_method"] == "five_of_ten" and len(days) == 3
        counting = ", of the highest 50 %, the second 30 %, the third 20 %" if weighted else ""
        console.print(f"the baseline of a whole hour is the average{counting} of:")
        console.print(table("day", *hours, rows=days, right=hours))
    elif event["baseline_days"]:
        console.print(f"baseline from {', '.join(event['baseline_days'])}")
    for dropped in event["dropped_days"]:
        console.print(f"not in it: {dropped['date']}, {dropped['reason'].replace('_', ' ')}", markup=False)


def show_hour_reasons(console: Console, hours: list[dict[str, Any]], zone: str) -> None:
    """Print why hours are not OK."""
    for hour in hours:
        if hour["reason"]:
            console.print(
                f"hour of {local(hour['starts_at'], zone)} {hour['quality']}: {hour['reason']}",
                markup=False,
                soft_wrap=True,
            )


def _show_ratio(console: Console, adjusted: dict[str, Any], zone: str) -> None:
    hours = ", ".join(local(each, zone).split(" ", 4)[4] for each in adjusted["hours"])
    lowest, highest = (owner_money.decimal_text(Fraction(adjusted[each])) for each in ("lowest", "highest"))
    console.print(
        f"hours from {hours}: {exact_kilowatt_hours(adjusted['metered_wh'])} that day, "
        f"{exact_kilowatt_hours(adjusted['usual_wh'])} on average on those days; the baseline is multiplied "
        f"by their ratio, at least {lowest} and at most {highest}, by 1 where those days drew nothing"
    )


def _worked_out(event: dict[str, Any]) -> str:
    """Return the last step of an event, from its energy to the cent."""
    energy, currency = exact_kilowatt_hours(event["paid_wh"]), event["currency"]
    if not Decimal(event["rate_usd_per_kwh"] or 0):
        return f"{energy}{_power_of(event)}; this program pays by the month, season or year, not by the event"
    bonus = Decimal(event["bonus_multiplier"])
    bounds = [
        f"at most {event['cap_kwh']} kWh" if event["cap_kwh"] else "",
        f"at most {amount(event['cap_amount'], currency)}" if event["cap_amount"] else "",
        f"at least {amount(event['minimum_amount'], currency)}" if event["minimum_amount"] else "",
    ]
    return (
        f"{energy} × {amount(event['rate_usd_per_kwh'], currency)} per kWh"
        + (f" × bonus {bonus}" if bonus != 1 else "")
        + f" × share {event['owner_share']}, rounded once to the cent, = "
        + amount(event["amount_usd"], currency)
        + "".join(f", {each}" for each in bounds if each)
    )


def _power_of(event: dict[str, Any]) -> str:
    """Return how an event's energy becomes its mean power."""
    hours = Fraction(event["event_s"], 3600)
    if not hours or not (event["tariff"] or "").startswith("per_kw_"):
        return ""
    kw = owner_money.decimal_text(Fraction(event["paid_wh"]) / 1000 / hours)
    return f" ÷ {owner_money.decimal_text(hours)} h = {kw} kW"


def _why(event: dict[str, Any]) -> str:
    return f"; {event['reason'].replace('_', ' ')}" if event["reason"] else ""


def show_books(console: Console, answer: dict[str, Any]) -> None:
    """Print whether the books hold."""
    rows = [
        (name, f"${sums['posted_usd']}", f"${sums['pending_usd']}")
        for name, sums in answer["accounts"].items()
    ]
    console.print(table("account", "posted", "pending", rows=rows, right=("posted", "pending")))
    balanced = "sum to zero" if answer["balanced"] else "DO NOT SUM TO ZERO"
    chain = "holds" if answer["chain_holds"] else f"BROKEN: {answer['differs']}"
    entries = "The entries" if answer["entries"] is None else f"{answer['entries']} entries"
    console.print(f"{entries}, {balanced}; the chain {chain}", markup=False)
    if answer["chain_holds"] and answer["differs"]:
        console.print(answer["differs"], markup=False)
    if answer["published"]:
        console.print(answer["published"]["says"], markup=False, soft_wrap=True)

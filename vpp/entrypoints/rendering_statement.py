"""How a statement looks to a person on a terminal, so that its sums can be made by hand."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

from rich.console import Console

from vpp.entrypoints.http.words import counted
from vpp.entrypoints.operations import owner_money
from vpp.entrypoints.rendering import amount, exact_kilowatt_hours, local, table


def show_statement(console: Console, statement: dict[str, Any]) -> None:
    """Print a statement hour by hour, so that its sums can be made by hand."""
    console.print(f"Statement of {statement['owner_id']}", style="bold", markup=False)
    if not statement.get("balanced", True):
        console.print(f"The books DO NOT SUM TO ZERO: {statement['differs']}", markup=False)
        return
    zone = next((event["time_zone"] for event in statement["events"]), "UTC")
    console.print(statement["what_counts"])
    if not statement["events"]:
        console.print("No event has been settled for a home of yours; vpp owner history says why.")
    for event in statement["events"]:
        _show_event(console, event)
    for period in statement["periods"]:
        _show_period(console, period)
        _show_corrections(console, period, zone)
    for season in statement["seasons"]:
        console.print()
        console.print(_season_sum(season), markup=False, soft_wrap=True)
    for dispute in statement["disputes"]:
        _show_dispute(console, dispute, zone)
    console.print()
    for each in statement["write_offs"]:
        borne = amount(each["amount_usd"], statement["currency"])
        console.print(
            f"{local(each['at'], zone)}: {borne} borne. {each['why']}", markup=False, soft_wrap=True
        )
    console.print(
        f"pending {amount(statement['pending_usd'], statement['currency'])}, "
        f"posted {amount(statement['posted_usd'], statement['currency'])}, "
        f"paid out {amount(statement['paid_out_usd'], statement['currency'])}"
    )


def _show_corrections(console: Console, earned: dict[str, Any], zone: str) -> None:
    """Print each correction of an amount: when, from what to what, by whom and why."""
    for each in earned["corrections"]:
        before, after = (amount(each[name], earned["currency"]) for name in ("before_usd", "after_usd"))
        console.print(
            f"corrected {local(each['at'], zone)}: {before} taken back, {after} booked. {each['why']}",
            markup=False,
            soft_wrap=True,
        )


def _show_dispute(console: Console, dispute: dict[str, Any], zone: str) -> None:
    """Print what was asked about one event or period and what was answered."""
    console.print()
    console.print(f"Asked about {dispute['period']} ({dispute['state']})", style="bold", markup=False)
    for word in dispute["words"]:
        said = f"{word['kind']} {local(word['at'], zone)} by {word['actor']}: {word['text']}"
        console.print(said, markup=False, soft_wrap=True)


def _season_sum(season: dict[str, Any]) -> str:
    """Return what a season came to: by its events, or by its months where these are what is paid."""
    whole, events = amount(season["amount_usd"], season["currency"]), counted(season["events"], "event")
    begun = f"{season['program_id']}, season from {season['season_starts_on']}: {events}"
    if season["periods"]:
        return f"{begun}, {season['periods']} months, seasons or years paid, {whole}"
    return f"{begun}, {exact_kilowatt_hours(season['paid_wh'])} counted, {whole}"


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
    rounded = "rounded once to the cent" if period["month_of_year"] is None else _twelfths(period)
    console.print(
        f"{product}{rate} per {period['paid_for']}{_factors(period)}, {rounded}, = "
        f"{amount(period['amount_usd'], period['currency'])} ({period['state']})",
        markup=False,
        soft_wrap=True,
    )


def _twelfths(period: dict[str, Any]) -> str:
    """Return how a month's part of a year's credit is rounded, so that twelve of them sum to it."""
    month, currency = period["month_of_year"], period["currency"]
    return (
        f"a year: {month} of 12 months, rounded to the cent, {amount(period['to_date_usd'], currency)}, "
        f"less {month - 1} of 12, {amount(period['before_usd'], currency)}"
    )


def _factors(earned: dict[str, Any]) -> str:
    """Return bonus and share, and the bounds where there are any."""
    bonus, currency = Decimal(earned["bonus_multiplier"]), earned["currency"]
    return (
        (f" × bonus {bonus}" if bonus != 1 else "")
        + f" × share {earned['owner_share']}"
        + (f", at least {amount(earned['minimum_amount'], currency)}" if earned["minimum_amount"] else "")
        + (f", at most {amount(earned['cap_amount'], currency)}" if earned["cap_amount"] else "")
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
    _show_corrections(console, event, zone)
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
        f"at least {amount(event['minimum_amount'], currency)}" if event["minimum_amount"] else "",
        f"at most {amount(event['cap_amount'], currency)}" if event["cap_amount"] else "",
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

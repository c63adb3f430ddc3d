"""How forecasts and looks back over a season appear to a person on a terminal."""

from typing import Any

from rich.console import Console

from vpp.entrypoints.rendering import amount, kilowatt_hours, kilowatts, local, show_mark, table


def show_preview(console: Console, found: dict[str, Any]) -> None:
    """Print what an event would get."""
    show_mark(console, found)
    zone, firm = found["time_zone"], found["firm"]
    console.print(
        f"{local(found['starts_at'], zone)} to {local(found['ends_at'], zone)}, nobody is commanded",
        highlight=False,
    )
    rows = [
        ("asked", kilowatts(found["asked_w"])),
        ("planned", f"{kilowatts(found['planned_w'])} from {found['sites']} homes"),
        ("shortfall", kilowatts(found["shortfall_w"])),
        ("firm, in 90 of 100", kilowatts(firm["p90_w"])),
        ("firm, in 50 of 100", kilowatts(firm["p50_w"])),
        ("firm, in 10 of 100", kilowatts(firm["p10_w"])),
        ("nominated this month", _nominated(found)),
        ("taken from others", _taken(found)),
        ("not subtracted", _scheduled(found)),
        ("cost at most", _cost(found, "cost_usd")),
        ("expected cost", _cost(found, "cost_p50_usd")),
        ("outside its program", ", ".join(found["out_of_program"]) or "no"),
    ]
    selection = found["selection"]
    if selection is not None:
        enough = "" if selection["enough"] else ", which is not enough"
        sure = f"ask for, to be {selection['confidence_pct']} % sure"
        rows.append((sure, f"{kilowatts(selection['ask_w'])} from {selection['sites']} homes{enough}"))
    console.print(table("", "", rows=rows))
    for title, key in (
        ("utility", "firm_by_utility"),
        ("county", "firm_by_county"),
        ("feeder", "firm_by_feeder"),
    ):
        groups = found[key][:10]
        lines = [
            (each["name"], each["sites"], *(kilowatts(each[name]) for name in ("p90_w", "p50_w", "p10_w")))
            for each in groups
        ]
        columns = (title, "homes", "90 of 100", "50 of 100", "10 of 100")
        console.print(table(*columns, rows=lines, right=columns[1:]))
    console.print(f"{found['events']} events looked at; {found['prior']}", soft_wrap=True)


def _cost(found: dict[str, Any], key: str) -> str:
    if found["test"]:
        return "nothing: a test is never paid"
    if found[key] is None:
        return f"paid by the {found['paid_by']}"
    return amount(found[key], found["currency"])


def _taken(found: dict[str, Any]) -> str:
    return (
        "; ".join(
            f"{each['sites']} {'home' if each['sites'] == 1 else 'homes'} and {kilowatts(each['power_w'])} "
            f"from {each['name']}{' (TEST)' if each['test'] else ''}, which is on"
            for each in found["takes_from"]
        )
        or "nothing"
    )


def _scheduled(found: dict[str, Any]) -> str:
    if not found["scheduled"]:
        return "nothing is scheduled in this window"
    power = "all there is" if found["scheduled_w"] is None else kilowatts(found["scheduled_w"])
    return f"{power}, scheduled in this window by {', '.join(found['scheduled'])}"


def _nominated(found: dict[str, Any]) -> str:
    if found["nominated_w"] is None:
        return "nothing"
    over = found["over_nominated_w"]
    return kilowatts(found["nominated_w"]) + (f"; this asks {kilowatts(over)} more" if over else "")


def show_rehearsal(console: Console, found: dict[str, Any]) -> None:
    """Print how an event would go."""
    show_mark(console, found)
    percents = [
        ("-" if found[key] is None else f"{found[key]:g} %") for key in ("delivered_pct", "after_5_min_pct")
    ]
    lowest_pct = found["lowest_charge_pct"]
    rows = [
        ("asked", kilowatt_hours(found["asked_wh"])),
        ("delivered", f"{kilowatt_hours(found['delivered_wh'])}, {percents[0]}"),
        ("after five minutes", percents[1]),
        ("greatest shortfall", kilowatts(found["greatest_shortfall_w"])),
        ("homes", "0" if lowest_pct is None else f"{found['sites']}, down to {lowest_pct} %"),
        ("commands", f"{found['commands']} in {found['ticks']} ticks, none of which left"),
        ("outside its program", ", ".join(found["out_of_program"]) or "no"),
    ]
    console.print(table("", "", rows=rows))
    curve = found["curve"]
    shown = curve[:: max(1, len(curve) // 12)]
    keys = ("asked_w", "planned_w", "delivered_w")
    zone = found["time_zone"]
    lines = [(local(each["at"], zone), *(kilowatts(each[key]) for key in keys)) for each in shown]
    columns = ("at", "asked", "planned", "delivered")
    console.print(table(*columns, rows=lines, right=columns[1:]))
    feeders = [
        (each["name"], each["sites"], kilowatt_hours(each["shortfall_wh"]), kilowatts(each["peak_w"]),
         "-" if each["cap_w"] is None else kilowatts(each["cap_w"]))
        for each in found["worst_feeders"][:5]
    ]  # fmt: skip
    names = ("homes", "short", "peak", "limit")
    console.print(table("feeder", *names, rows=feeders, right=names))


def show_site_history(console: Console, found: dict[str, Any]) -> None:
    """Print what one home did this season."""
    rows = [
        (
            local(each["starts_at"], found["time_zone"]),
            each["event_id"] + (" TEST" if each["test"] else ""),
            f"{each['hours']:g} h",
            kilowatt_hours(each["asked_wh"]),
            kilowatt_hours(each["delivered_wh"]),
        )
        for each in found["rows"]
    ]
    columns = ("began", "event", "asked for", "asked", "given")
    console.print(table(*columns, rows=rows, right=columns[2:]))
    cap = "" if found["cap_hours"] is None else f" of at most {found['cap_hours']} h"
    console.print(
        f"{found['events']} events, {found['hours']:g} h{cap}, {kilowatt_hours(found['energy_wh'])}, "
        f"{found['cycles']:g} cycles; all homes on average {found['mean_cycles']:g}",
        soft_wrap=True,
    )
    _show_index(console, found)


def show_fairness(console: Console, found: dict[str, Any]) -> None:
    """Print how a season was shared."""
    rows = [
        (
            each["site_id"],
            each["events"],
            f"{each['hours']:g} h",
            kilowatt_hours(each["energy_wh"]),
            f"{each['cycles']:g}",
        )
        for each in found["homes"]
        if each["events"]
    ]
    columns = ("site", "events", "asked for", "given", "cycles")
    console.print(table(*columns, rows=rows, right=columns[1:]))
    console.print(
        f"{found['events']} events, {found['asked']} of {found['sites']} homes asked, "
        f"{kilowatt_hours(found['energy_wh'])}, {found['mean_cycles']:g} cycles on average",
        soft_wrap=True,
    )
    if found["resting"]:
        console.print(f"{found['resting']} did all that one home is asked for, and rest")
    _show_index(console, found)


def _show_index(console: Console, found: dict[str, Any]) -> None:
    console.print(
        f"fairness index {found['fairness_index']:g}: {found['fairness_index_means']}", soft_wrap=True
    )

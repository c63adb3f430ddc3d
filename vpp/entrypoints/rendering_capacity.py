"""How forecasts look to a person on a terminal: what an event would get, and how a rehearsal went."""

from typing import Any

from rich.console import Console

from vpp.entrypoints.rendering import kilowatts, local, table


def show_preview(console: Console, found: dict[str, Any]) -> None:
    """Print what an event would get."""
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
        ("cost at most", f"${found['cost_usd']}"),
        ("expected cost", f"${found['cost_p50_usd']}"),
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

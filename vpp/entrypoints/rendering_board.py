"""A board for a terminal: the same figures as on the page, with a bar of how far the homes are."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vpp.domain.eligibility import LIVE_FOR_S
from vpp.entrypoints.http.words import age, duration, energy, on_the_way, power

ORDER = ("delivering", "starting", "sent", "short", "refused", "no_answer", "silent")
BARS = {
    "sent": ("○", "default"),
    "acknowledged": ("○", "default"),
    "delivering": ("●", "blue"),
    "failed": ("✖", "bright_red"),
}
BAR_WIDTH = 38
MARKS = {"delivering": "●", "starting": "○", "sent": "○", "short": "✖", "refused": "✖"}


def board(facts: dict[str, Any]) -> RenderableType:
    """Return an event as it stands now; colour only for what needs somebody, never without a word."""
    # What it is first: a narrow terminal cuts the end of a title.
    mark = "TEST " if facts["test"] else ""
    title = f"{mark}{facts['event_id']} {facts['state'].replace('_', ' ')}: {facts['name']}"
    left = facts["starts_in_s"] or facts["remaining_s"]
    figures = Table.grid(padding=(0, 3))
    figures.add_row("delivered", power(facts["measured_w"]), "asked", power(facts["asked_w"]))
    figures.add_row("starts in" if facts["starts_in_s"] else "left", duration(left), *_shortfall(facts))
    figures.add_row(
        "energy above reserves", energy(facts["energy_left_wh"]), "needed", energy(facts["energy_needed_wh"])
    )
    if facts["estimated_w"]:
        figures.add_row("of it estimated", Text(f"▲ {power(facts['estimated_w'])}", style="bold yellow"))
    if facts["unapproved_w"]:
        figures.add_row("for a second person", Text(f"▲ {power(facts['unapproved_w'])}", style="bold yellow"))
    figures.add_row(
        "newest reading",
        _age(facts["newest_age_s"]) if facts["sites"] else "–",
        "homes asked",
        f"{facts['sites']:,}",
    )
    return Panel(Group(figures, *_proof(facts)), title=title, border_style="dim", width=78)


def _shortfall(facts: dict[str, Any]) -> tuple[str, RenderableType]:
    lacking = facts["shortfall_w"] * 100 > facts["asked_w"]
    words = power(facts["shortfall_w"])
    return "shortfall", Text(f"✖ {words}", style="bold") if lacking else words


def _age(seconds: int | None) -> RenderableType:
    late = seconds is not None and seconds > LIVE_FOR_S
    return Text(f"▲ {age(seconds)}", style="bold yellow") if late else age(seconds)


def _proof(facts: dict[str, Any]) -> list[RenderableType]:
    """Return the fan-out: a bar for each step of all that were asked, and each state by its word."""
    if facts["state"] in ("cancelled", "ended") or not facts["fanout"]["asked"]:
        return []
    words = "   ".join(
        f"{MARKS.get(state, '▲')} {facts['proof'][state]:,} {state.replace('_', ' ')}"
        for state in ORDER
        if state in facts["proof"]
    )
    coming = on_the_way(facts["fanout"])
    return [
        fanout_bars(facts["fanout"]),
        *([Text(coming)] if coming else []),
        *([Text(words)] if words else []),
    ]


def fanout_bars(fanout: Mapping[str, Any]) -> RenderableType:
    """Return a bar with its count for each step of a command's life, of all homes that were asked."""
    asked, bars = fanout["asked"], Table.grid(padding=(0, 1))
    bars.add_column()
    bars.add_column()
    bars.add_column(justify="right")
    for word, (mark, colour) in BARS.items():
        bar = ProgressBar(asked, fanout[word], width=BAR_WIDTH, complete_style=colour, finished_style=colour)
        bars.add_row(f"{mark if fanout[word] else ' '} {word}", bar, f"{fanout[word]:,} of {asked:,}")
    return bars

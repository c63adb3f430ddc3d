"""What stands in lists says it in words: what waits, hours and caps that bind nobody, which event is next."""

import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from tests.entrypoints.pages.world import PROGRAM, Suburb, logged_in
from vpp.domain.access import Role
from vpp.entrypoints.cli_fleet import _show_programs
from vpp.entrypoints.operations import events, money, rails, starting
from vpp.entrypoints.rendering import show_event
from vpp.wire.program_file import read_program

PROGRAMS = Path(__file__).parents[3] / "config" / "programs"


@pytest.fixture
async def ana(suburb: Suburb) -> httpx.AsyncClient:
    await suburb.add("ana", Role.OPERATOR)
    return await logged_in(suburb, "ana")


@pytest.fixture
async def rosa(suburb: Suburb) -> httpx.AsyncClient:
    await suburb.add("rosa", Role.OWNER, "o-s-001")
    return await logged_in(suburb, "rosa")


async def begin(suburb: Suburb, event_id: str, starts_at: str, *, mw: str = "0.02") -> None:
    await starting.start_event(
        suburb.desk, event_id=event_id, program_id=PROGRAM, power_mw=mw, starts_at=starts_at, minutes=60,
        actor="staff:ana",
    )  # fmt: skip


def words_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


@pytest.mark.parametrize(("mw", "flag"), [("1.5", "▲ 500.0 kW waits for approval"), ("0.5", "")])
async def test_the_list_of_events_flags_what_of_one_waits_for_a_second_person(
    suburb: Suburb, ana: httpx.AsyncClient, mw: str, flag: str
) -> None:
    await begin(suburb, "hot-1", "2026-09-10T17:00", mw=mw)

    page = words_of((await ana.get("/operator/events")).text)

    assert flag in page
    assert ("waits for approval" in page) == bool(flag)


async def test_hours_and_caps_that_bind_nobody_are_named_so(suburb: Suburb, ana: httpx.AsyncClient) -> None:
    program = read_program(
        (PROGRAMS / "tesla-electric-tx.toml").read_text(), file_name="tesla-electric-tx.toml"
    )
    suburb.desk.programs.clear()  # type: ignore[attr-defined]  # a dictionary here
    suburb.desk.programs[program.program_id] = program  # type: ignore[index]  # and here
    console = Console(file=StringIO(), width=120, record=True)

    page = words_of((await ana.get("/operator/events")).text)
    _show_programs(console, await rails.list_programs(suburb.desk))

    assert "0.0 h used, no cap" in page
    assert "any time of day, America/Chicago" in page
    printed = console.export_text()
    assert "0.0 h used, no cap" in printed
    assert "any time" in printed


class Cells(HTMLParser):
    """Of a page's cells that a phone shows as a line, label before value: those with more than one value."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.several: list[str] = []
        self._label, self._depth, self._values = "", 0, 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "td":
            self._label, self._depth, self._values = dict(attrs).get("data-label") or "", 0, 0
        elif tag not in ("br", "input"):
            self._values += not self._depth
            self._depth += 1

    def handle_endtag(self, tag: str) -> None:
        if tag == "td" and self._label and self._values > 1:
            self.several.append(self._label)
        self._label, self._depth = ("", 0) if tag == "td" else (self._label, self._depth - 1)

    def handle_data(self, data: str) -> None:
        self._values += bool(data.strip()) and not self._depth


async def test_a_cell_of_a_phones_list_holds_one_text_and_no_row_of_narrow_ones(
    suburb: Suburb, ana: httpx.AsyncClient, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb, "hot-1", "now", mw="0.9")
    await begin(suburb, "hot-2", "2026-09-10T17:00", mw="1.5")
    await suburb.pass_time(60)
    await suburb.controller.notify()
    await suburb.pass_time(3_600)
    await money.settle_event(suburb.desk, event_id="hot-1")

    operators = ("/operator", "/operator/events", "/operator/alarms", "/operator/events/hot-1/sites/s-001")
    pages = [await ana.get(path) for path in operators]
    pages += [await rosa.get(path) for path in ("/owner/events", "/owner/events/hot-1")]

    assert [page.status_code for page in pages] == [200] * 6
    assert "missing 840.0 kW" in pages[2].text
    assert "No reading" in pages[5].text
    assert [Cells(page.text).several for page in pages] == [[]] * 6


async def test_who_helps_down_to_the_own_reserve_is_not_said_to_go_down_to_nothing(suburb: Suburb) -> None:
    await begin(suburb, "hot-1", "now", mw="0.9")
    await suburb.pass_time(60)
    console = Console(file=StringIO(), width=140, record=True)

    show_event(console, await events.show_event(suburb.desk, event_id="hot-1"))

    printed = console.export_text()
    assert "down to their own reserves" in printed
    assert "down to 0 %" not in printed


async def test_only_the_soonest_of_what_comes_is_the_next_event(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb, "later", "2026-09-11T17:00")
    await begin(suburb, "soon", "2026-09-10T17:00")
    await begin(suburb, "now", "now")

    page = (await rosa.get("/owner")).text
    headings = re.findall(r"<h2>(\w+ event|Event \w+)</h2>", page)

    assert headings == ["Event now", "Next event", "Later event"]
    described = re.findall(r'<button[^>]* aria-describedby="([^"]+)">Opt out', page)
    assert described == [f"about-s-001-{event_id}" for event_id in ("now", "soon", "later")]
    assert all(f'<div id="{each}">' in page for each in described)  # whoever hears it hears which event

"""``vpp event watch``: the board in a terminal, and as lines of JSON from a running service."""

import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.entrypoints.pages.world import PROGRAM, a_suburb
from tests.entrypoints.test_service import Serve, answer_of, beside, card_of, environment, serve, vpp
from vpp.entrypoints.http.live import board_page_values
from vpp.entrypoints.http.showing import render
from vpp.entrypoints.http.words import freshness, on_the_way
from vpp.entrypoints.operations import events, starting
from vpp.entrypoints.operations.board import show_board
from vpp.entrypoints.rendering_board import board

__all__ = ["serve"]  # the fixture

WATCH = (sys.executable, "-m", "vpp", "event", "watch", "hot-1", "--json")


async def test_the_board_in_a_terminal_has_the_figures_of_the_page_and_a_bar_of_the_homes(
    tmp_path: Path,
) -> None:
    suburb = await a_suburb(tmp_path)
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.02", test=True, actor="staff:ana"
    )
    await suburb.pass_time(300)
    console = Console(file=io.StringIO(), width=100, record=True)

    console.print(board(await show_board(suburb.desk, event_id="hot-1")))

    shown = console.export_text()
    for word in ("sent", "acknowledged", "delivering"):
        assert re.search(rf"{word} +━+ +(\d+) of \1\b", shown)
    assert re.search(r"failed +0 of \d", shown)
    assert "on the way" not in shown
    assert "TEST" in shown
    assert "delivered" in shown
    assert shown.count("20.0 kW") == 2
    assert "55 min" in shown
    assert re.search(r"● \d+ delivering", shown)
    assert "━" in shown


@pytest.mark.parametrize(("age_s", "word"), [(75, "live"), (90, "live"), (91, "recent")])
async def test_a_reading_is_late_on_every_board_from_the_moment_it_is_live_on_no_page(
    tmp_path: Path, age_s: int, word: str
) -> None:
    suburb = await a_suburb(tmp_path)
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.02", actor="staff:ana"
    )
    await suburb.pass_time(300)
    console = Console(file=io.StringIO(), width=100, record=True)
    values = await board_page_values(suburb.desk, "hot-1")
    values["facts"]["newest_age_s"] = age_s

    console.print(board(values["facts"]))
    page = render("board_fragment.html", board=values)

    assert freshness(age_s, True) == word
    assert (f"▲ {age_s} s old" in console.export_text()) == (word != "live")
    assert ('class="late"><dt>Newest reading' in page) == (word != "live")


async def test_the_board_in_a_terminal_of_what_is_over_has_no_home_on_the_way_and_no_reading(
    tmp_path: Path,
) -> None:
    suburb = await a_suburb(tmp_path)
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.02", actor="staff:ana"
    )
    await suburb.pass_time(30)
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    console = Console(file=io.StringIO(), width=100, record=True)

    console.print(board(await show_board(suburb.desk, event_id="hot-1")))
    await suburb.pass_time(15)
    console.print(board(await show_board(suburb.desk, event_id="hot-1")))

    shown = console.export_text()
    assert "cancelled" in shown
    assert "on the way" not in shown
    assert "starting" not in shown
    assert "never" not in shown


async def test_the_board_in_a_terminal_says_how_long_it_takes_until_every_home_is_proved(
    tmp_path: Path,
) -> None:
    suburb = await a_suburb(tmp_path)
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.02", test=True, actor="staff:ana"
    )
    await suburb.pass_time(30)
    console = Console(file=io.StringIO(), width=100, record=True)

    facts = await show_board(suburb.desk, event_id="hot-1")
    console.print(board(facts))

    shown = console.export_text()
    assert re.search(r"delivering +0 of \d", shown)
    assert re.search(r"\d homes on the way; all proved in about 2 min \d\d s", shown)
    await suburb.pass_time(105)
    assert re.search(
        r"about \d\d s$", on_the_way((await show_board(suburb.desk, event_id="hot-1"))["fanout"])
    )


async def test_the_board_in_a_terminal_says_what_waits_for_a_second_person(tmp_path: Path) -> None:
    suburb = await a_suburb(tmp_path)
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="1.2", actor="staff:ana"
    )
    await suburb.pass_time(60)
    console = Console(file=io.StringIO(), width=100, record=True)

    console.print(board(await show_board(suburb.desk, event_id="hot-1")))

    assert re.search(r"for a second person +▲ 200\.0 kW", console.export_text())


def test_a_watch_prints_a_line_for_each_change_and_ends_when_the_event_is_over(
    serve: Serve, tmp_path: Path
) -> None:
    state_dir = tmp_path / "state"
    card = card_of(state_dir, serve())
    answer_of(card["port"], "/health/ready", status=200)
    program = vpp(state_dir, "event", "start", "hot-1", "--program", "elrp-a4-pge", "--mw", "0.1")
    assert program.returncode == 0, program.stderr
    to_pipes: dict[str, Any] = {
        "env": environment(state_dir),
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    with beside(*WATCH, **to_pipes) as watch, beside(*WATCH[:-1], **to_pipes) as drawn:
        assert watch.stdout is not None
        assert drawn.stdout is not None
        first = json.loads(watch.stdout.readline())
        at_first = drawn.stdout.readline()
        vpp(state_dir, "event", "cancel", "hot-1")
        lines = [json.loads(line) for line in watch.stdout]
        boards = drawn.stdout.read()
        assert (watch.wait(10), drawn.wait(10)) == (0, 0)

    assert first["event_id"] == "hot-1"
    assert set(first["fanout"]) == {"asked", "sent", "acknowledged", "delivering", "failed", "done_in_s"}
    assert lines[-1]["state"] == "cancelled"
    assert len(lines) <= 4
    assert "hot-1" in at_first
    assert "hot-1 cancelled" in boards


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_watch_says_in_one_sentence_that_the_service_is_gone(
    serve: Serve, tmp_path: Path, ending: signal.Signals
) -> None:
    state_dir = tmp_path / "state"
    service = serve()
    card = card_of(state_dir, service)
    answer_of(card["port"], "/health/ready", status=200)
    vpp(state_dir, "event", "start", "hot-1", "--program", "elrp-a4-pge", "--mw", "0.1")
    with beside(*WATCH, env=environment(state_dir), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watch:
        assert watch.stdout is not None
        assert watch.stderr is not None
        json.loads(watch.stdout.readline())
        service.send_signal(ending)
        _, logged = service.communicate(timeout=30)
        told = watch.stderr.read().splitlines()
        assert watch.wait(10) == 1

    assert f"the service (process {service.pid}) is gone" in told[-1]
    assert not any("Traceback" in line for line in told)
    assert "Traceback" not in logged
    assert "Cancel" not in logged


def test_a_watch_of_nothing_says_why(serve: Serve, tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    alone = vpp(state_dir, "event", "watch", "hot-1")
    card = card_of(state_dir, serve())
    answer_of(card["port"], "/health/ready", status=200)

    unknown = vpp(state_dir, "event", "watch", "hot-1")

    assert (alone.returncode, unknown.returncode) == (1, 1)
    assert "no vpp serve runs here" in alone.stderr
    assert "event hot-1 is not known" in unknown.stderr

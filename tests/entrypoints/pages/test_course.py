"""One power of an event wherever it is shown: board, map, replay; and nothing drawn where nobody looked."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.entrypoints.pages.world import PROGRAM, Suburb, logged_in
from vpp.domain.access import Role
from vpp.entrypoints.operations import board, counties, evening, starting
from vpp.entrypoints.operations.live import Live
from vpp.ports import StoreUnavailable

EVENT = "hot-1"
TICK = timedelta(seconds=15)


@pytest.fixture
async def ana(suburb: Suburb) -> httpx.AsyncClient:
    await suburb.add("ana", Role.OPERATOR)
    return await logged_in(suburb, "ana")


async def start(suburb: Suburb) -> None:
    await starting.start_event(
        suburb.desk, event_id=EVENT, program_id=PROGRAM, power_mw="0.05", minutes=60, actor="staff:ana"
    )


async def run(suburb: Suburb, *, ticks: int, silent: tuple[int, ...] = (), looked_at: bool = True) -> None:
    for _ in range(ticks):
        suburb.clock.step_to(suburb.clock.now() + TICK)
        suburb.report(silent=silent)
        await suburb.controller.turn()
        if looked_at:
            await evening.keep_course(suburb.desk)


async def frames_of(suburb: Suburb) -> list[Any]:
    found: Any = await evening.show_evening(suburb.desk, event_id=EVENT)
    return list(found["frames"])


async def test_board_map_and_replay_tell_of_one_power_with_silent_homes_and_say_what_is_estimated(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await start(suburb)
    await suburb.pass_time(300)
    await run(suburb, ticks=10, silent=(0, 5))

    facts: Any = await board.show_board(suburb.desk, event_id=EVENT)
    by_county: Any = (await counties.list_counties(suburb.desk))["counties"]
    newest = (await frames_of(suburb))[-1]
    last_samples_w = int(
        suburb.controller.fleet.battery_w[suburb.live.serving(EVENT, suburb.clock.now())].sum()
    )
    told = (facts["measured_w"], facts["estimated_w"])
    metrics = (await ana.get("/metrics")).text
    map_page, replay_page, board_page = [
        (await ana.get(f"/operator/{path}")).text
        for path in ("map?figure=delivered_w", f"events/{EVENT}/replay", "boards")
    ]

    assert 0 < told[1] < told[0] < last_samples_w
    assert (
        sum(each["delivered_w"] for each in by_county),
        sum(each["estimated_w"] for each in by_county),
    ) == told
    assert (newest["measured_w"], newest["estimated_w"]) == told
    for figure, watts in zip(("measured", "estimated"), told, strict=True):
        assert f'vpp_event_watts{{event="{EVENT}",figure="{figure}",test="false"}} {watts:.1f}' in metrics
    assert re.search(r"▲ \d+\.\d kW of it estimated", map_page)
    for page in (replay_page, board_page):
        assert 'class="line estimated"' in page
        assert "partly estimated" in page


async def test_a_replay_follows_what_was_seen_from_the_first_command_to_the_end(suburb: Suburb) -> None:
    await start(suburb)
    await suburb.pass_time(63 * 60)

    frames = await frames_of(suburb)

    measured = {each["at"][11:19]: each["measured_w"] for each in frames}
    assert measured["01:05:00"] == measured["01:55:00"] == 50_000
    assert max(measured) == "02:00:00"
    assert measured["02:00:00"] == 0
    assert all(each["measured_w"] is not None for each in frames)
    assert len(frames) >= 230


async def test_where_nobody_looked_a_replay_knows_nothing_and_draws_no_line(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await start(suburb)
    await run(suburb, ticks=20)
    await run(suburb, ticks=24, looked_at=False)  # as while the service is down
    await run(suburb, ticks=20)

    frames = await frames_of(suburb)
    page = await ana.get(f"/operator/events/{EVENT}/replay")
    file = await ana.get(f"/operator/events/{EVENT}/course.csv")

    unknown = [each["at"][11:19] for each in frames if each["measured_w"] is None]
    assert unknown
    assert min(unknown) > "01:05:00"
    assert max(unknown) < "01:11:00"
    assert page.text.count('class="line measured"') == 2
    assert "nobody looked" in page.text
    assert re.search(r"50000,,,0,", file.text)


async def test_a_board_after_a_restart_shows_what_the_process_before_it_saw(suburb: Suburb) -> None:
    await start(suburb)
    await run(suburb, ticks=20)
    before: Any = (await board.show_board(suburb.desk, event_id=EVENT))["course"]
    suburb.desk = replace(suburb.desk, live=Live(suburb.controller))

    await run(suburb, ticks=1)
    after: Any = (await board.show_board(suburb.desk, event_id=EVENT))["course"]

    assert len(before) > 15
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1


async def test_what_the_database_could_not_take_is_stored_when_it_is_back(
    suburb: Suburb, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(_powers: object) -> None:
        raise StoreUnavailable("the database does not answer")

    await start(suburb)
    await run(suburb, ticks=8)
    with monkeypatch.context() as patched:
        patched.setattr(suburb.desk.store, "add_course", down)
        await run(suburb, ticks=8)
        missing = len(await suburb.desk.store.course(EVENT))
        meanwhile = await frames_of(suburb)
    await run(suburb, ticks=1)

    assert len(await suburb.desk.store.course(EVENT)) == missing + 9
    assert suburb.live.unkept == []
    assert meanwhile[-1]["measured_w"] is not None
    assert len(meanwhile) == missing + 8

"""The part of an event above its source's limit: it is shown, and staff are told that nobody approved it."""

from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.entrypoints.pages.world import Suburb, a_suburb
from tests.entrypoints.test_event_operations import ANA, BEN, limit, start
from vpp.domain.grid_event import Step
from vpp.domain.interval import Interval
from vpp.domain.notice import Contact, NoticeKind
from vpp.domain.quantities import Watts
from vpp.entrypoints import rendering
from vpp.entrypoints.operations.events import list_events, show_event
from vpp.entrypoints.operations.starting import approve_event
from vpp.stages.watch import Watched, alert, watch
from vpp.wire.notice_text import word_notice


@pytest.fixture
async def suburb(tmp_path: Path) -> Suburb:
    return await a_suburb(tmp_path)


async def missed(suburb: Suburb) -> list[tuple[str, str]]:
    """Return the events that miss an approver now, each with what of it waits."""
    seen = await watch(
        board=suburb.controller.board, connected=True, silent_vtns={}, store=suburb.desk.store,
        clock=suburb.clock, seen=Watched(),
        programs=suburb.desk.programs, homes={},
    )  # fmt: skip
    return [
        (each.subject, each.facts.get("waiting_kw", "all"))
        for each in seen
        if each.kind is NoticeKind.APPROVER_MISSING
    ]


async def test_no_approver_is_missed_for_an_event_within_the_limit_beside_a_later_one_above_it(
    suburb: Suburb,
) -> None:
    await limit(suburb, 40_000)
    await start(suburb)
    await start(suburb, "ev-2", power_mw="60")

    assert await missed(suburb) == [("ev-2", "59980.0")]


async def test_approver_of_a_part_is_missed_until_somebody_approves(suburb: Suburb) -> None:
    await limit(suburb, 8_000)
    later = (suburb.clock.now() + timedelta(minutes=45)).isoformat()
    await start(suburb, starts_at=later)
    hours_ahead = await missed(suburb)
    await suburb.pass_time(16 * 60)
    soon = await missed(suburb)

    await approve_event(suburb.desk, event_id="ev-1", actor=BEN)

    assert (hours_ahead, soon, await missed(suburb)) == ([], [("ev-1", "12.0")], [])


async def test_staff_are_told_what_of_an_event_waits_and_that_the_rest_goes(suburb: Suburb) -> None:
    await limit(suburb, 8_000)
    await start(suburb)
    store, clock, seen = suburb.desk.store, suburb.clock, Watched()
    await store.keep_contact(Contact("staff:lin", address="mailto://lin"))
    found = await watch(
        board=suburb.controller.board, connected=True, silent_vtns={}, store=store, clock=clock, seen=seen,
        programs=suburb.desk.programs, homes={},
    )  # fmt: skip

    await alert(found, store=store, clock=clock, seen=seen)

    ((notice, _),) = await store.notices_to_send(now=clock.now(), limit=10)
    title, text = word_notice(notice, "en")
    assert title == "Part of ELRP A.4, PG&E waits for approval"
    assert text.startswith(
        "12.0 kW of ELRP A.4, PG&E, which starts at Wed Sep 9, 6:00 PM PDT, wait for approval."
    )
    assert "12.0 kW de ELRP A.4, PG&E" in word_notice(notice, "es")[1]


async def test_event_that_asks_for_all_misses_an_approver_where_homes_give_up_to_the_limit(
    suburb: Suburb,
) -> None:
    await limit(suburb, 8_000)
    await start(suburb, power_mw="all")
    bounded = await missed(suburb)
    await limit(suburb, 80_000)
    await suburb.pass_time(30)

    assert (bounded, await missed(suburb)) == ([("ev-1", "")], [])


@pytest.mark.parametrize(
    ("power_mw", "words"), [("0.02", "12.0 kW waits for"), ("all", "above 8.0 kW waits")]
)
async def test_part_that_waits_stands_in_list_and_event(suburb: Suburb, power_mw: str, words: str) -> None:
    await limit(suburb, 8_000)
    await start(suburb, power_mw=power_mw)
    listed, alone = await list_events(suburb.desk), await show_event(suburb.desk, event_id="ev-1")
    console = Console(file=StringIO(), width=200)

    rendering.show_events(console, listed)
    rendering.show_event(console, alone)
    await approve_event(suburb.desk, event_id="ev-1", actor=BEN)
    after = await show_event(suburb.desk, event_id="ev-1")

    said = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert said.count(words) == 2
    assert "vpp event approve ev-1" in said
    assert (alone["waiting_w"], after["waiting_w"]) == (12_000 if power_mw != "all" else None, 0)


async def test_step_that_passes_the_limit_later_waits_from_now_on(suburb: Suburb) -> None:
    await limit(suburb, 30_000)
    await start(suburb)
    version = (await suburb.desk.history("ev-1")).latest
    (step,) = version.steps
    half = step.interval.starts_at + timedelta(minutes=30)
    steps = (
        replace(step, interval=Interval(step.interval.starts_at, half)),
        Step(Interval(half, step.interval.ends_at), Watts(45_000)),
    )
    await suburb.desk.store.append_version(
        replace(version, version=2, steps=steps, content_sha256="2" * 64, committed_at=suburb.clock.now()),
        actor=ANA,
    )

    assert (await show_event(suburb.desk, event_id="ev-1"))["waiting_w"] == 15_000

"""Years later: every command of an event is made again from stored facts, and what does not fit is named."""

import hashlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb
from vpp.domain.command import AckBatch, Action, CommandBatch
from vpp.domain.enrollment import OptOut
from vpp.domain.quantities import column
from vpp.entrypoints.operations.changing import modify_event
from vpp.entrypoints.operations.events import cancel_event
from vpp.entrypoints.operations.replay import replay_event
from vpp.entrypoints.operations.sites import opt_out_site
from vpp.entrypoints.operations.starting import start_event
from vpp.wire.gateway import command_body


@pytest.fixture
async def suburb(tmp_path: Path) -> Suburb:
    """Return a fleet that has an eventful hour behind it: changed, opted out, cancelled."""
    suburb = await a_suburb(tmp_path)
    await start_event(
        suburb.desk, event_id="ev-1", program_id=PROGRAM, power_mw="0.02", minutes=60, actor="staff:ana"
    )
    await suburb.pass_time(600)
    await modify_event(suburb.desk, event_id="ev-1", power_mw="0.03", minutes=90, actor="staff:ana")
    await suburb.pass_time(600)
    await opt_out_site(suburb.desk, site_id="s-003", event_id="ev-1", actor="owner:o-s-003")
    await suburb.pass_time(600)
    await cancel_event(suburb.desk, event_id="ev-1", actor="staff:ana")
    await suburb.pass_time(60)
    return suburb


async def again(suburb: Suburb) -> Any:
    return await replay_event(suburb.desk, event_id="ev-1")


async def test_what_was_sent_follows_from_what_is_stored(suburb: Suburb) -> None:
    found = await again(suburb)

    assert found["difference"] is None
    assert found["result"] == "same"
    assert found["commands"] > 50
    assert (await again(suburb))["bodies_sha256"] == found["bodies_sha256"]


async def test_bodies_made_again_are_those_that_left(tmp_path: Path) -> None:
    suburb, left = await a_suburb(tmp_path), []
    send = suburb.controller.link.command

    async def remember(batches: list[CommandBatch]) -> None:
        for batch in batches:
            for row, site_no in enumerate(batch.order.site_no.tolist()):
                left.append(command_body(batch, row, suburb.controller.roster.site_id(site_no)))
        await send(batches)

    suburb.controller.link.command = remember  # type: ignore[assignment, method-assign]  # listens, then sends
    await start_event(
        suburb.desk, event_id="ev-1", program_id=PROGRAM, power_mw="0.02", minutes=60, actor="staff:ana"
    )
    await suburb.pass_time(900)

    found = await again(suburb)
    assert found["bodies_sha256"] == hashlib.sha256(b"".join(body + b"\n" for body in left)).hexdigest()


async def test_event_cancelled_in_the_second_of_its_first_command_replays_the_same(tmp_path: Path) -> None:
    suburb = await a_suburb(tmp_path)
    suburb.clock.step_to(suburb.clock.now() + timedelta(milliseconds=200))
    await start_event(
        suburb.desk, event_id="ev-1", program_id=PROGRAM, power_mw="0.02", minutes=60, actor="staff:ana"
    )
    await suburb.controller.turn()
    suburb.clock.step_to(suburb.clock.now() + timedelta(milliseconds=300))
    await cancel_event(suburb.desk, event_id="ev-1", actor="staff:ana")
    await suburb.controller.turn()

    found = await again(suburb)

    assert found["commands"] > 0
    assert found["difference"] is None


async def test_command_that_no_plan_revision_carries_is_named(suburb: Suburb) -> None:
    revisions = suburb.desk.store._revisions["ev-1"]  # type: ignore[attr-defined]  # a hand in the store
    first = revisions[1]
    revisions[1] = replace(first, setpoint_w=first.setpoint_w * 0)

    found = await again(suburb)

    assert found["result"] == "different"
    assert "is told to discharge; its plan says 0 W" in found["difference"]


async def test_missing_plan_revision_is_named(suburb: Suburb) -> None:
    del suburb.desk.store._revisions["ev-1"][2]  # type: ignore[attr-defined]  # a hand in the store

    assert "plan revision 2 is not there" in (await again(suburb))["difference"]


async def test_discharge_after_an_opt_out_is_named(suburb: Suburb) -> None:
    early = suburb.clock.now() - timedelta(minutes=29)
    await suburb.desk.store.opt_out(OptOut("s-000", "ev-1", early, "portal"))

    assert "s-000 is told to discharge after its opt-out" in (await again(suburb))["difference"]


@pytest.mark.parametrize(("seconds", "named"), [(61, True), (59, False)])
async def test_no_at_home_may_have_been_stored_a_minute_after_it_was_heard(
    suburb: Suburb, seconds: int, named: bool
) -> None:
    told_at = max(
        tick.at
        for tick in await suburb.desk.store.event_ticks("ev-1")
        if any(order.action is Action.DISCHARGE and 0 in order.site_no for order in tick.orders)
    )
    said_at = told_at - timedelta(seconds=seconds)
    await suburb.desk.store.opt_out(OptOut("s-000", "ev-1", said_at, "home"))

    found = await again(suburb)

    assert ("s-000 is told to discharge after its opt-out" in (found["difference"] or "")) is named


async def test_lease_that_outlives_the_event_is_named(suburb: Suburb) -> None:
    ticks = suburb.desk.store._event_ticks["ev-1"]  # type: ignore[attr-defined]  # a hand in the store
    first = ticks[1]
    longer = replace(first.orders[0], event_ends_at=first.orders[0].event_ends_at + timedelta(hours=1))
    ticks[1] = replace(first, orders=(longer, *first.orders[1:]))

    assert "is of no version known then" in (await again(suburb))["difference"]


async def test_answer_to_a_command_that_was_never_told_is_counted(suburb: Suburb) -> None:
    epoch = suburb.desk.store._ticks[1].epoch  # type: ignore[attr-defined]  # as the ticks have it
    stray = AckBatch(column([11]), column([epoch]), column([2]), column([0]), ("ev-1",), (None,))
    second = suburb.desk.store._ticks[2]  # type: ignore[attr-defined]  # as the ticks have it
    told = {site for order in second.orders for site in order.site_no.tolist()}
    assert 11 not in told
    await suburb.desk.store.record_acks(stray)

    assert (await again(suburb))["stray_answers"] == 1


async def test_every_plan_is_made_again_from_the_samples_stored_with_it(suburb: Suburb) -> None:
    found = await again(suburb)

    assert found["plans_made_again"] == found["revisions"] > 1


async def test_plan_that_does_not_follow_from_the_stored_samples_is_named(suburb: Suburb) -> None:
    bases = suburb.desk.store._bases  # type: ignore[attr-defined]  # a hand in the store
    number = next(number for number, basis in bases.items() if basis.plans)
    samples = bases[number].samples
    bases[number] = replace(bases[number], samples=replace(samples, soc_permille=samples.soc_permille // 2))

    found = await again(suburb)

    assert found["result"] == "different"
    assert found["difference"].startswith("plan revision 1: ")


async def test_home_that_was_chosen_against_its_own_sample_is_named(suburb: Suburb) -> None:
    bases = suburb.desk.store._bases  # type: ignore[attr-defined]  # a hand in the store
    number = next(number for number, basis in bases.items() if basis.plans)
    samples = bases[number].samples
    bases[number] = replace(bases[number], samples=replace(samples, flags=samples.flags | 2))

    assert "counts as eligible, and was islanded" in (await again(suburb))["difference"]


async def test_event_from_before_samples_were_kept_is_replayed_without_them(suburb: Suburb) -> None:
    suburb.desk.store._bases.clear()  # type: ignore[attr-defined]  # a hand in the store

    found = await again(suburb)

    assert (found["result"], found["plans_made_again"], found["ticks_made_again"]) == ("same", 0, 0)


async def test_every_tick_is_made_again_from_what_was_known_of_each_home(suburb: Suburb) -> None:
    found = await again(suburb)

    assert found["ticks_made_again"] == found["ticks"] > 5


async def test_home_that_is_missing_from_a_tick_is_named(suburb: Suburb) -> None:
    ticks = suburb.desk.store._ticks  # type: ignore[attr-defined]  # a hand in the store
    renewing = next(tick for tick in ticks.values() if tick.number > 1 and len(tick.orders[0].site_no) > 1)
    first, *others = renewing.orders
    ticks[renewing.number] = replace(renewing, orders=(replace(first, site_no=first.site_no[1:]), *others))
    left_out = suburb.controller.roster.site_id(int(first.site_no[0]))

    assert (await again(suburb))["difference"] == (
        f"tick {renewing.number}: site {left_out} would be told to discharge, and is not"
    )


async def test_lease_that_is_shorter_than_it_was_to_be_is_named(suburb: Suburb) -> None:
    ticks = suburb.desk.store._ticks  # type: ignore[attr-defined]  # a hand in the store
    first = ticks[1].orders[0]
    shorter = replace(first, expires_at=first.expires_at - timedelta(minutes=5))
    ticks[1] = replace(ticks[1], orders=(shorter, *ticks[1].orders[1:]))

    assert (await again(suburb))["difference"] == (
        f"tick 1: its lease would end at {first.expires_at:%H:%M:%S} UTC, "
        f"and ends at {shorter.expires_at:%H:%M:%S} UTC"
    )


async def test_answer_that_counts_as_heard_and_is_not_stored_is_named(suburb: Suburb) -> None:
    suburb.desk.store._acks.clear()  # type: ignore[attr-defined]  # a hand in the store

    assert (
        "counts as having answered tick 1, and no such answer is stored"
        in (await again(suburb))["difference"]
    )


async def test_tick_whose_knowledge_was_deleted_between_others_is_named(suburb: Suburb) -> None:
    del suburb.desk.store._bases[2]  # type: ignore[attr-defined]  # a hand in the store

    assert (await again(suburb))["difference"] == "tick 2: what was known when it was decided is not stored"

"""From the store to a settlement: who is settled, for how long, and with which baseline."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from tests.domain.money_world import (
    EVENT_DAY,
    PACIFIC,
    a_meter,
    a_program,
    an_evening_history,
    an_event,
    local,
    weekdays_before,
)
from tests.stages.money_story import ENDS_AT, STARTS_AT, TEN_DAYS, MoneyStory, a_dispatched_home
from vpp.domain.baseline import excluded_days
from vpp.domain.command import Action
from vpp.domain.delivery import Quality
from vpp.domain.grid_event import EventStatus, Grant, GrantKind, Operation
from vpp.domain.interval import Interval
from vpp.domain.program import NegativePolicy
from vpp.domain.quantities import column, dollars
from vpp.domain.season_hours import counted_intervals
from vpp.domain.settlement import Settlement, SettlementReason, SettlementState, SiteQuality
from vpp.domain.site_earnings import NEVER_OPTED_OUT, SettledSites, settle_sites
from vpp.stages import settle as settle_stage
from vpp.stages.settle import UnknownProgram, settle


def only_line(settlement: Settlement | None):
    assert settlement is not None
    assert len(settlement.lines) == 1
    return settlement.lines[0]


async def test_a_dispatched_home_is_paid_for_what_is_beyond_its_baseline():
    story = await a_dispatched_home()

    settlement = await story.settled()

    line = only_line(settlement)
    assert (line.site_id, line.owner_id) == ("home", "owner-home")
    assert line.incremental_wh == 9_000
    assert dollars(line.amount) == "18.00"
    assert settlement is not None
    assert settlement.state is SettlementState.PROVISIONAL


async def test_an_event_is_not_settled_before_it_ends():
    story = await a_dispatched_home(now=ENDS_AT - timedelta(seconds=1))

    assert await story.settled() is None


async def test_a_home_that_was_never_told_to_discharge_is_not_settled():
    story = await a_dispatched_home()
    await story.home("idle", an_evening_history([4_000] * 3, TEN_DAYS))
    await story.home("released", an_evening_history([4_000] * 3, TEN_DAYS))
    await story.dispatched(2, action=Action.RELEASE)

    assert only_line(await story.settled()).site_id == "home"


async def test_an_event_that_commanded_nobody_has_no_settlement():
    story = MoneyStory()
    await story.event()

    assert await story.settled() is None


async def test_a_home_is_settled_until_its_own_opt_out():
    story = await a_dispatched_home()
    await story.opted_out("home", at=local(EVENT_DAY, 19))

    line = only_line(await story.settled())

    assert line.incremental_wh == 3_000
    assert (line.settled, line.reason) == (
        Interval(STARTS_AT, local(EVENT_DAY, 19)),
        SettlementReason.OPTED_OUT,
    )


async def test_an_opt_out_taken_back_before_the_end_does_not_count():
    story = await a_dispatched_home()
    await story.opted_out("home", at=local(EVENT_DAY, 19), taken_back_at=local(EVENT_DAY, 20))

    assert only_line(await story.settled()).incremental_wh == 9_000


async def test_an_opt_out_taken_back_after_the_end_still_counts():
    story = await a_dispatched_home()
    await story.opted_out("home", at=local(EVENT_DAY, 19), taken_back_at=ENDS_AT)

    assert only_line(await story.settled()).incremental_wh == 3_000


async def test_a_cancelled_event_is_settled_up_to_the_commit_of_the_cancel():
    story = await a_dispatched_home()
    await story.cancelled("ev-1", at=local(EVENT_DAY, 19))

    line = only_line(await story.settled())

    assert line.settled == Interval(STARTS_AT, local(EVENT_DAY, 19))
    assert line.incremental_wh == 3_000


async def test_an_event_cancelled_before_it_starts_has_no_settlement():
    story = await a_dispatched_home()
    await story.cancelled("ev-1", at=STARTS_AT - timedelta(minutes=1))

    assert await story.settled() is None


async def test_an_event_that_came_late_begins_at_its_commit():
    story = MoneyStory()
    await story.home("home", an_evening_history([4_000] * 3, TEN_DAYS))
    await story.event(committed_at=local(EVENT_DAY, 18, 30))
    await story.dispatched(0, at=local(EVENT_DAY, 18, 30))

    line = only_line(await story.settled())

    assert line.settled == Interval(local(EVENT_DAY, 18, 30), ENDS_AT)
    assert line.incremental_wh == 7_500


async def test_a_forced_event_is_paid_for_the_part_inside_its_window():
    story = MoneyStory()
    hours = an_evening_history([4_000] * 3, TEN_DAYS) | {local(EVENT_DAY, 21): 4_000}
    await story.home("home", hours)
    ends_at = local(EVENT_DAY, 22)
    await story.event(starts_at=local(EVENT_DAY, 20), ends_at=ends_at, out_of_program=("out_of_window",))
    await story.store.grant(Grant("ev-1", 1, GrantKind.FORCE, "olga", local(EVENT_DAY, 17)))
    await story.dispatched(0, at=local(EVENT_DAY, 20))
    story.clock.step_to(ends_at)

    line = only_line(await story.settled())

    assert [hour.hour.starts_at for hour in line.hours] == [local(EVENT_DAY, 20)]
    assert line.incremental_wh == 3_000


async def test_days_on_which_a_home_was_commanded_leave_its_baseline():
    story = MoneyStory()
    await story.home("home", an_evening_history([4_000] * 3, [[5_000] * 3, *TEN_DAYS]))
    yesterday = STARTS_AT - timedelta(days=1)
    await story.event("ev-0", starts_at=yesterday, ends_at=yesterday + timedelta(hours=3))
    await story.dispatched(0, event_id="ev-0", at=yesterday)
    await story.event()
    await story.dispatched(0)

    line = only_line(await story.settled())

    assert line.incremental_wh == 9_000
    assert (date(2026, 9, 8), "event") in line.baseline_days.dropped


async def test_days_excluded_by_hand_leave_the_baseline_of_one_home_or_of_all():
    story = MoneyStory()
    spoiled_twice = [[5_000] * 3, [5_000] * 3, *TEN_DAYS]
    await story.home("one", an_evening_history([4_000] * 3, spoiled_twice))
    await story.home("two", an_evening_history([4_000] * 3, spoiled_twice))
    await story.store.exclude_day("one", date(2026, 9, 8), "outage", at=story.clock.now())
    await story.store.exclude_day("*", date(2026, 9, 4), "dual_event", at=story.clock.now())
    await story.event()
    await story.dispatched(0, 1)

    settlement = await story.settled()

    assert settlement is not None
    one, two = settlement.lines
    assert dict(one.baseline_days.dropped) == {date(2026, 9, 8): "outage", date(2026, 9, 4): "dual_event"}
    assert dict(two.baseline_days.dropped) == {date(2026, 9, 4): "dual_event"}
    assert one.incremental_wh == 9_000
    assert two.incremental_wh == 9_000 - 3 * 400


async def test_a_more_important_event_takes_a_home_away_for_its_time():
    story = await a_dispatched_home()
    taken_at = local(EVENT_DAY, 19)
    await story.event("ev-2", starts_at=taken_at, ends_at=local(EVENT_DAY, 20), priority=1)
    await story.dispatched(0, event_id="ev-2", at=taken_at)

    first, second = only_line(await story.settled("ev-1")), only_line(await story.settled("ev-2"))

    assert [hour.hour.starts_at for hour in first.hours] == [STARTS_AT, local(EVENT_DAY, 20)]
    assert [hour.hour.starts_at for hour in second.hours] == [taken_at]
    assert first.incremental_wh + second.incremental_wh == 9_000


async def test_a_home_is_paid_by_the_less_important_event_until_the_other_first_commands_it():
    story = await a_dispatched_home()
    await story.event("ev-2", starts_at=local(EVENT_DAY, 18, 30), ends_at=local(EVENT_DAY, 20), priority=1)
    await story.dispatched(0, event_id="ev-2", at=local(EVENT_DAY, 19))

    first, second = only_line(await story.settled("ev-1")), only_line(await story.settled("ev-2"))

    assert [hour.hour.starts_at for hour in first.hours] == [STARTS_AT, local(EVENT_DAY, 20)]
    assert [(hour.hour.starts_at, hour.fraction) for hour in second.hours] == [(local(EVENT_DAY, 19), 1)]
    assert (first.incremental_wh, second.incremental_wh) == (6_000, 3_000)


async def test_a_home_that_left_the_more_important_event_is_paid_by_the_one_that_took_it():
    story = MoneyStory()
    await story.home("home", an_evening_history([4_000] * 3, TEN_DAYS))
    await story.event("ev-high", priority=0)
    await story.event("ev-low", priority=5)
    await story.dispatched(0, event_id="ev-high")
    await story.opted_out("home", event_id="ev-high", at=local(EVENT_DAY, 19))
    await story.dispatched(0, event_id="ev-low", at=local(EVENT_DAY, 19, 1))

    high, low = only_line(await story.settled("ev-high")), only_line(await story.settled("ev-low"))

    assert (high.incremental_wh, high.reason) == (3_000, SettlementReason.OPTED_OUT)
    assert (low.incremental_wh, low.settled) == (6_000, Interval(local(EVENT_DAY, 19), ENDS_AT))


async def test_the_same_inputs_settle_to_the_same_run_which_is_stored_once():
    story = await a_dispatched_home()
    first = await story.settled()
    story.clock.step_to(ENDS_AT + timedelta(hours=5))

    assert await story.settled() == first
    assert await story.store.settlement("ev-1") == first


async def test_late_readings_change_a_provisional_settlement():
    story = MoneyStory()
    evening = an_evening_history([4_000] * 3, TEN_DAYS)
    rows = a_meter(evening)
    in_time = [row for row in rows if row[0] <= local(EVENT_DAY, 20)]
    await story.home("home")
    await story.metered("home", in_time)
    await story.event()
    await story.dispatched(0)
    before = only_line(await story.settled())

    await story.metered("home", rows[len(in_time) :])
    after = only_line(await story.settled())

    assert (before.quality, before.incremental_wh) == (SiteQuality.MISSING, 6_000)
    assert (after.quality, after.incremental_wh) == (SiteQuality.OK, 9_000)


async def test_after_the_close_date_a_settlement_is_final_and_late_readings_wait_for_a_correction():
    story = MoneyStory()
    rows = a_meter(an_evening_history([4_000] * 3, TEN_DAYS))
    in_time = [row for row in rows if row[0] <= local(EVENT_DAY, 20)]
    await story.home("home")
    await story.metered("home", in_time)
    await story.event()
    await story.dispatched(0)
    story.clock.step_to(ENDS_AT + timedelta(days=8))
    final = await story.settled()
    await story.metered("home", rows[len(in_time) :])

    untouched = await story.settled()
    corrected = await story.settled(correcting=True)

    assert final is not None
    assert final.state is SettlementState.FINAL
    assert untouched == final
    assert corrected is not None
    assert corrected.state is SettlementState.CORRECTED
    assert only_line(corrected).incremental_wh == 9_000


@pytest.mark.parametrize("provisional_first", [True, False])
async def test_a_reading_received_after_the_close_changes_no_money_however_late_the_event_is_settled(
    *, provisional_first: bool
):
    story = MoneyStory()
    rows = a_meter(an_evening_history([4_000] * 3, TEN_DAYS))
    in_time = [row for row in rows if row[0] <= local(EVENT_DAY, 20)]
    await story.home("home")
    await story.metered("home", in_time)
    await story.event()
    await story.dispatched(0)
    if provisional_first:
        await story.settled()
    story.clock.step_to(ENDS_AT + timedelta(days=8))
    await story.metered("home", rows[len(in_time) :])

    final = await story.settled()
    corrected = await story.settled(correcting=True)

    assert final is not None
    assert (final.state, only_line(final).incremental_wh) == (SettlementState.FINAL, 6_000)
    assert only_line(corrected).incremental_wh == 9_000


async def test_correcting_what_is_right_changes_nothing():
    story = await a_dispatched_home()
    story.clock.step_to(ENDS_AT + timedelta(days=8))
    final = await story.settled()

    assert await story.settled(correcting=True) == final


async def test_homes_are_settled_alike_in_chunks_of_any_size(monkeypatch: pytest.MonkeyPatch):
    story = MoneyStory()
    for number in range(5):
        await story.home(f"home-{number}", an_evening_history([4_000 + number] * 3, TEN_DAYS))
    await story.event()
    await story.dispatched(0, 1, 2, 3, 4)
    monkeypatch.setattr(settle_stage, "CHUNK_SITES", 2)
    in_chunks = await story.settled()

    assert in_chunks is not None
    assert [line.site_id for line in in_chunks.lines] == [f"home-{number}" for number in range(5)]
    assert [line.incremental_wh for line in in_chunks.lines] == [9_000 + 3 * number for number in range(5)]


async def test_a_home_with_gaps_far_back_is_settled_as_from_all_its_readings():
    story = MoneyStory()
    days = [[1_000 + 100 * back] * 3 for back in range(20)]
    evening = an_evening_history([4_000] * 3, days)
    gone = set(weekdays_before(EVENT_DAY, 20)[1:9])
    rows = [row for row in a_meter(evening) if row[0].astimezone(PACIFIC).date() not in gone]
    thin = [row for row in rows if row[0].astimezone(PACIFIC).minute % 15 == 5]
    for name, readings in (("gaps", rows), ("thin", thin)):
        await story.home(name)
        await story.metered(name, readings)
    await story.event()
    await story.dispatched(0, 1)
    event = an_event(program=story.program)
    everything = await story.store.readings(
        ("gaps", "thin"), [Interval(STARTS_AT - timedelta(days=60), ENDS_AT)]
    )
    sites = SettledSites(
        ("gaps", "thin"),
        ("owner-gaps", "owner-thin"),
        column([NEVER_OPTED_OUT] * 2),
        excluded_days(event.day, 2, []),
    )

    settlement = await story.settled()

    assert settlement is not None
    assert settlement.lines == settle_sites(event, sites, everything)
    assert len(settlement.lines[0].baseline_days.chosen) == 10


async def test_a_season_that_nets_carries_what_earlier_events_lost():
    story = MoneyStory(program=a_program(negative_policy=NegativePolicy.NET_SEASON_FLOOR_ZERO))
    yesterday = date(2026, 9, 8)
    evening = an_evening_history([4_000] * 3, [[0] * 3, *TEN_DAYS])
    await story.home("home", evening, an_evening_history([0] * 3, TEN_DAYS, day=yesterday))
    for event_id, day in (("ev-0", yesterday), ("ev-1", EVENT_DAY)):
        await story.event(event_id, starts_at=local(day, 18), ends_at=local(day, 21))
        await story.dispatched(0, event_id=event_id, at=local(day, 18))

    lost, gained = only_line(await story.settled("ev-0")), only_line(await story.settled("ev-1"))

    assert (lost.incremental_wh, lost.paid_wh) == (-3_000, 0)
    assert (gained.incremental_wh, gained.paid_wh) == (9_000, 6_000)


async def test_a_doubted_reading_spoils_its_hour():
    story = MoneyStory()
    rows = a_meter(an_evening_history([4_000] * 3, TEN_DAYS))
    spoiled = [(*row[:3], Quality.BAD if row[0] == local(EVENT_DAY, 18, 30) else row[3]) for row in rows]
    await story.home("home")
    await story.metered("home", spoiled)
    await story.event()
    await story.dispatched(0)

    line = only_line(await story.settled())

    assert (line.quality, line.incremental_wh) == (SiteQuality.BAD, 6_000)


async def test_a_test_event_is_never_paid() -> None:
    story = MoneyStory()
    await story.home("home", an_evening_history([4_000, 4_000, 4_000], TEN_DAYS))
    await story.event(test=True)
    await story.dispatched(0)

    assert await story.settled() is None
    assert await story.books() == []


async def test_a_test_event_uses_none_of_the_seasons_hours() -> None:
    story = MoneyStory()
    await story.event("test", test=True, starts_at=STARTS_AT - timedelta(days=1), ends_at=STARTS_AT)
    await story.event("real")

    sources = {each.name: each for each in await story.store.sources()}
    counted = counted_intervals(await story.store.histories(), sources, story.program.program_id)

    assert counted == (Interval(STARTS_AT, ENDS_AT),)


async def test_a_cancel_of_an_event_nobody_knew_leaves_nothing_to_settle() -> None:
    story = await a_dispatched_home()
    never_seen = replace(
        (await story.history()).latest,
        event_id="ev-unseen", version=1, program_id="", steps=(), status=EventStatus.CANCELLED,
        operation=Operation.DELETE,
    )  # fmt: skip
    await story.store.append_version(never_seen, actor="caiso")

    assert await story.settled("ev-unseen") is None
    assert only_line(await story.settled()).site_id == "home"


async def test_an_event_whose_program_file_is_gone_says_so() -> None:
    story = await a_dispatched_home()
    history = await story.history()

    with pytest.raises(UnknownProgram, match="put its file back"):
        await settle(history, store=story.store, programs={}, clock=story.clock)

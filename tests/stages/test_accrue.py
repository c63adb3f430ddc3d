"""From events to what a season of them pays: which events count in a home's mean power, and as what."""

from datetime import date, timedelta
from decimal import Decimal

from tests.domain.money_world import EVENING, EVENT_DAY, a_program, local
from tests.stages.money_story import MoneyStory
from vpp.domain.program import Program, Tariff, TariffRule
from vpp.domain.quantities import Price, dollars
from vpp.domain.settlement import SettlementReason
from vpp.stages.pay import accruals, accrue

DAYS = (EVENT_DAY - timedelta(days=2), EVENT_DAY - timedelta(days=1), EVENT_DAY)


def a_program_for_power() -> Program:
    tariff = Tariff(TariffRule.PER_KW_SEASON_AVERAGE, per_kw_season=Decimal(275))
    return a_program(tariff=tariff, baseline_method="none", rate=Price(Decimal(0)))


async def a_season(*homes: str) -> MoneyStory:
    """Return homes that give 5 kW on three evenings, with an event on each: nobody is commanded yet."""
    story = MoneyStory(program=a_program_for_power())
    for name in homes:
        await story.home(name, {local(day, hour): 5_000 for day in DAYS for hour in EVENING})
    for number, day in enumerate(DAYS):
        await story.event(f"ev-{number}", starts_at=local(day, 18), ends_at=local(day, 21))
    return story


async def commanded(story: MoneyStory, day: date, *site_nos: int) -> None:
    await story.dispatched(*site_nos, event_id=f"ev-{DAYS.index(day)}", at=local(day, 18))


async def season_of(story: MoneyStory) -> dict[str, tuple[str, str | None]]:
    """Settle all events and return what the season pays each home, and why."""
    for history in await story.store.histories():
        await story.settled(history.latest.event_id)
    runs = await accruals(story.program, store=story.store, clock=story.clock)
    return {line.site_id: (dollars(line.amount), line.reason) for run in runs for line in run.lines}


async def test_an_event_that_everybody_opted_out_of_counts_as_no_power():
    story = await a_season("home")
    for day in DAYS[:2]:
        await commanded(story, day, 0)
    await story.opted_out("home", event_id="ev-2", at=local(EVENT_DAY, 12))

    season = await season_of(story)

    assert season == {"home": ("916.67", "3.33 kW, the mean of 3 events")}
    (line,) = (await story.settled_and_paid("ev-2")).lines
    assert (line.settled, line.reason, line.amount) == (None, SettlementReason.OPTED_OUT, 0)


async def test_an_event_left_between_the_command_and_its_start_counts_as_no_power():
    story = await a_season("home")
    for day in DAYS:
        await commanded(story, day, 0)
    await story.opted_out("home", event_id="ev-2", at=local(EVENT_DAY, 17, 59))

    assert await season_of(story) == {"home": ("916.67", "3.33 kW, the mean of 3 events")}


async def test_an_opt_out_taken_back_before_anybody_was_needed_does_not_count():
    story = await a_season("home")
    for day in DAYS[:2]:
        await commanded(story, day, 0)
    await story.opted_out(
        "home", event_id="ev-2", at=local(EVENT_DAY, 12), taken_back_at=local(EVENT_DAY, 13)
    )

    assert await season_of(story) == {"home": ("1375.00", "5.00 kW, the mean of 2 events")}


async def test_an_event_that_never_held_a_home_because_another_did_does_not_count():
    story = await a_season("shared", "alone")
    for day in DAYS:
        await commanded(story, day, 0, 1)
    await story.event("ev-other", starts_at=local(EVENT_DAY, 18), ends_at=local(EVENT_DAY, 21), priority=0)
    await story.dispatched(0, event_id="ev-other", at=local(EVENT_DAY, 18))

    season = await season_of(story)

    assert season == dict.fromkeys(("shared", "alone"), ("1375.00", "5.00 kW, the mean of 3 events"))
    shared, alone = (await story.settled_and_paid("ev-2")).lines
    assert (shared.reason, alone.reason) == (SettlementReason.HELD_ELSEWHERE, None)


async def test_a_home_that_no_event_held_is_paid_nothing_and_loses_what_was_booked_before():
    story = await a_season("home")
    await commanded(story, EVENT_DAY, 0)
    assert (await season_of(story))["home"][0] == "1375.00"
    await story.event("practice", starts_at=local(EVENT_DAY, 18), ends_at=local(EVENT_DAY, 21), test=True)
    await story.dispatched(0, event_id="practice", at=local(EVENT_DAY, 18))

    assert await season_of(story) == {"home": ("0.00", "0.00 kW, the mean of 0 events")}


async def test_what_a_correction_changes_in_a_closed_season_says_who_started_it_and_why():
    story = await a_season("home")
    for day in DAYS:
        await commanded(story, day, 0)
    programs = {story.program.program_id: story.program}
    story.clock.step_to(local(date(2026, 11, 20), 12))
    await season_of(story)
    await accrue(programs, store=story.store, clock=story.clock)
    await story.opted_out("home", event_id="ev-2", at=local(EVENT_DAY, 19))

    await story.settled("ev-2", correcting=True)
    entries = await accrue(programs, store=story.store, clock=story.clock, note="Correction by ben: his no")

    assert [entry.memo for entry in entries] == [
        "Reversal: Settlement of season-2026-05-01, site home",
        "Correction by ben: his no: Settlement of season-2026-05-01, site home",
    ]


async def test_a_program_that_pays_for_energy_has_no_line_for_who_was_never_commanded():
    story = MoneyStory()
    await story.home("home")
    await story.event()
    await story.opted_out("home", at=local(EVENT_DAY, 12))

    assert await story.settled() is None

"""What programs are told to count on, and where one program or currency stands beside another."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.entrypoints.builders import a_desk, a_program, an_enrollment_file
from tests.entrypoints.test_books_and_payouts import CLOSED
from tests.entrypoints.test_books_and_payouts import a_desk as a_desk_of
from tests.entrypoints.test_reports import rows
from tests.stages.money_story import a_dispatched_home
from vpp.adapters.clock import SteppedClock
from vpp.domain.program import Program
from vpp.entrypoints import rendering_statement
from vpp.entrypoints.operations import money, nominations, rails, reports, sites
from vpp.entrypoints.operations.desk import Desk, OperationRefused
from vpp.entrypoints.operations.owner_money import show_own_event
from vpp.wire.enrollment_file import OTHER_PROGRAMS
from vpp.wire.program_file import read_program

PROGRAMS = Path(__file__).parents[2] / "config" / "programs"


async def listed(desk: Desk) -> Mapping[str, Any]:
    found: Any = await rails.list_programs(desk)
    return {each["program_id"]: each for each in found["programs"]}


async def test_the_last_nomination_of_a_month_stands_and_earlier_ones_stay_to_be_read(tmp_path: Path):
    desk = a_desk(tmp_path)

    for power_mw in ("5", "6.5"):
        await nominations.nominate_power(
            desk, program_id="elrp-a4-pge", month="2026-09", power_mw=power_mw, actor="op-lin"
        )

    made: Any = await nominations.list_nominations(desk)
    assert [each["power_w"] for each in made["nominations"]] == [5_000_000, 6_500_000]
    program = (await listed(desk))["elrp-a4-pge"]
    assert program["nominated_w"] == 6_500_000
    assert (program["terms"]["season_left_s"], program["terms"]["season_minimum_s"]) == (216_000, 72_000)
    trail = await desk.store.trail(subject="program:elrp-a4-pge")
    assert [each.action for each in trail] == ["nominate", "nominate"]


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"month": "2026-08"}, "month 2026-08 is over"),
        ({"month": "2026-9"}, "month '2026-9' is not a month such as 2026-09"),
        ({"month": "2026-13"}, "month '2026-13' is not a month"),
        ({"program_id": "elrp-b9"}, "there is no program 'elrp-b9'"),
        ({"power_mw": "all"}, "a nomination needs a number of megawatts"),
        ({"power_mw": "-1"}, "a power of -1 MW is not"),
    ],
)
async def test_a_nomination_that_says_nothing_usable_is_refused(
    tmp_path: Path, changed: dict[str, str], fault: str
):
    wish = {"program_id": "elrp-a4-pge", "month": "2026-09", "power_mw": "5"} | changed

    with pytest.raises(OperationRefused, match=fault):
        await nominations.nominate_power(a_desk(tmp_path), actor="op-lin", **wish)


async def test_a_program_reads_what_was_nominated_beside_what_was_delivered(tmp_path: Path):
    story = await a_dispatched_home(now=CLOSED)
    await story.settled_and_paid()
    desk = a_desk_of(story, tmp_path)
    before: Any = await reports.report_event(desk, event_id="ev-1")

    await nominations.nominate_power(
        desk, program_id=story.program.program_id, month="2026-09", power_mw="0.012", actor="op-lin"
    )
    after: Any = await reports.report_event(desk, event_id="ev-1")

    assert [each["nominated_wh"] for each in rows(before["hours_csv"])] == ["", "", ""]
    assert [each["nominated_wh"] for each in rows(after["hours_csv"])] == ["12000"] * 3


def beside(programs: str) -> bytes:
    text = an_enrollment_file("s-1").decode().splitlines()
    return "\n".join([f"{text[0]},{OTHER_PROGRAMS}", f"{text[1]},{programs}"]).encode()


@pytest.mark.parametrize(
    ("days", "used_s", "starts_on", "over"),
    [
        (0, 10_800, "2026-05-01", False),
        (60, 10_800, "2026-05-01", True),
        (200, 10_800, "2026-05-01", True),
        (300, 0, "2027-05-01", False),
    ],
)
async def test_a_season_that_is_over_shows_its_hours_until_the_next_begins(
    tmp_path: Path, days: int, used_s: int, starts_on: str, over: bool
):
    story = await a_dispatched_home(now=CLOSED)
    assert isinstance(story.clock, SteppedClock)
    story.clock.step_to(story.clock.now() + timedelta(days=days))
    desk = a_desk_of(story, tmp_path)

    terms = (await listed(desk))["elrp-a4-pge"]["terms"]

    assert (terms["season_used_s"], terms["season_starts_on"], terms["season_over"]) == (
        used_s, starts_on, over,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("allowed", "others", "fault"),
    [
        ((), "", None),
        ((), "ac-saver", "elrp-a4-pge goes beside no other program; this home is in 'ac-saver'"),
        (("ac-saver", "tou-dr-p"), "AC-Saver tou-dr-p", None),
        (("ac-saver",), "ac-saver psr", "elrp-a4-pge goes only beside ac-saver; this home is in 'psr'"),
    ],
)
async def test_a_home_is_enrolled_beside_the_programs_that_the_terms_allow_only(
    tmp_path: Path, allowed: tuple[str, ...], others: str, fault: str | None
):
    program = a_program()
    program = replace(program, editions=(replace(program.editions[0], also_enrolled=allowed),))
    desk = replace(a_desk(tmp_path), programs={program.program_id: program})

    if fault is None:
        found: Any = await sites.enroll_sites(desk, content=beside(others), file_name="sites.csv")
        assert [each["site_id"] for each in found["sites"]] == ["s-1"]
        return
    with pytest.raises(OperationRefused) as refused:
        await sites.enroll_sites(desk, content=beside(others), file_name="sites.csv")
    assert refused.value.faults == (f"sites.csv:2: {OTHER_PROGRAMS}: {fault}",)
    assert await desk.store.enrollments() == []


OTHERS = (
    "sdp", "sep", "psr", "ac-saver", "tou-dr-p", "rule-32", "elrp-a4", "elrp-a5", "elrp-a6", "cbp",
    "another-vpp",
)  # fmt: skip
"""Every program that the dual participation rules speak of, and some of which they say nothing."""
BESIDE = {
    "elrp-a4-sce": {"sdp", "sep"},  # sub-metered
    "elrp-a4-sdge": {"ac-saver", "tou-dr-p"},
}
ENDED = {"elrp-a4-sdge": {"psr"}}  # dropped on enrolment
ELRP = sorted(each.stem for each in PROGRAMS.glob("elrp-*.toml"))


def shipped(program_id: str, *, text: str = "") -> Program:
    program = read_program(text or (PROGRAMS / f"{program_id}.toml").read_text(), file_name=program_id)
    return replace(program, editions=(replace(program.editions[-1], effective_to=None),))


async def enrolled_beside(tmp_path: Path, program: Program, other: str) -> str:
    """Return whether a home in another program joins this one: ``allowed``, ``ended`` or ``refused``."""
    desk = replace(a_desk(tmp_path), programs={program.program_id: program})
    content = (
        beside(other).decode().replace("elrp-a4-pge", program.program_id).replace("PGE", program.utility)
    )
    try:
        found: Any = await sites.enroll_sites(desk, content=content.encode(), file_name="sites.csv")
    except OperationRefused as refused:
        return "refused" if " goes " in str(refused.faults) else str(refused.faults)
    (site,) = found["sites"]
    assert site.get("ends", [other]) == [other]
    return "ended" if "ends" in site else "allowed"


@pytest.mark.parametrize("program_id", ELRP)
async def test_every_pair_of_programs_is_allowed_ended_or_refused_as_the_rules_say(
    tmp_path: Path, program_id: str
):
    said = {other: await enrolled_beside(tmp_path / other, shipped(program_id), other) for other in OTHERS}

    assert len(ELRP) == 9
    assert {other for other in OTHERS if said[other] == "allowed"} == BESIDE.get(program_id, set())
    assert {other for other in OTHERS if said[other] == "ended"} == ENDED.get(program_id, set())


@pytest.mark.parametrize("group", ["a4", "a5"])
@pytest.mark.parametrize(("meter", "said"), [("device", "allowed"), ("site", "refused")])
async def test_at_sce_a_home_stays_in_sdp_or_sep_only_where_sub_meters_measure_what_is_paid(
    tmp_path: Path, group: str, meter: str, said: str
):
    text = (PROGRAMS / f"elrp-{group}-sce.toml").read_text()
    for other in ("device", "site"):
        text = text.replace(f'meter = {{ value = "{other}"', f'meter = {{ value = "{meter}"')
    program = shipped(f"elrp-{group}-sce", text=text)

    for other in ("sdp", "sep"):
        assert await enrolled_beside(tmp_path / other, program, other) == said
    assert await enrolled_beside(tmp_path / "psr", program, "psr") == "refused"


async def test_an_owner_is_paid_in_one_currency(tmp_path: Path):
    abroad = replace(a_program("tesla-energy-plan-au"), currency="AUD")
    at_home = a_program()
    desk = replace(a_desk(tmp_path), programs={each.program_id: each for each in (at_home, abroad)})
    await sites.enroll_sites(desk, content=an_enrollment_file("s-1", owner_id="o-1"), file_name="sites.csv")

    second = an_enrollment_file("s-2", owner_id="o-1", program_id=abroad.program_id)
    with pytest.raises(OperationRefused, match="owner o-1 is paid in USD, and tesla-energy-plan-au pays AUD"):
        await sites.enroll_sites(desk, content=second, file_name="more.csv")

    other = an_enrollment_file("s-2", owner_id="o-2", program_id=abroad.program_id)
    await sites.enroll_sites(desk, content=other, file_name="more.csv")


async def test_sums_of_the_books_hold_one_currency_each(tmp_path: Path):
    story = await a_dispatched_home(now=CLOSED)
    await story.settled_and_paid()
    desk = a_desk_of(story, tmp_path)
    abroad = replace(
        desk, programs={each: replace(program, currency="AUD") for each, program in desk.programs.items()}
    )

    at_home: Any = await money.verify_ledger(desk)
    found: Any = await money.verify_ledger(abroad)

    assert at_home["accounts"]["owner_payable"]["posted_usd"] == "-18.00"
    assert at_home["other_currencies"] == {}
    assert found["accounts"]["owner_payable"]["posted_usd"] == "0.00"
    assert found["other_currencies"]["AUD"]["owner_payable"] == {"posted": "-18.00", "pending": "0.00"}
    assert (at_home["balanced"], found["balanced"]) == (True, True)


async def test_every_amount_of_an_owner_says_its_currency(tmp_path: Path):
    story = await a_dispatched_home(now=CLOSED)
    await story.settled_and_paid()
    desk = a_desk_of(story, tmp_path)
    abroad = replace(
        desk, programs={each: replace(program, currency="AUD") for each, program in desk.programs.items()}
    )

    statement: Any = await money.show_statement(abroad, owner_id="owner-home")

    assert (statement["currency"], statement["posted_usd"]) == ("AUD", "18.00")
    assert [each["currency"] for each in statement["events"] + statement["seasons"]] == ["AUD", "AUD"]
    shown = Console(width=160, record=True, file=StringIO())
    rendering_statement.show_statement(shown, statement)
    text = shown.export_text()
    assert "× AUD 2.00 per kWh × share 1.00, rounded once to the cent, = AUD 18.00 (final)" in text
    assert "posted AUD 18.00" in text
    assert "$" not in text


async def test_a_statement_says_bonus_bounds_and_what_raised_a_grid_meters_baseline(tmp_path: Path):
    story = await a_dispatched_home(now=CLOSED)
    await story.settled_and_paid()
    desk = a_desk_of(story, tmp_path)
    statement: Any = await money.show_statement(desk, owner_id="owner-home")
    event = statement["events"][0] | {
        "bonus_multiplier": "1.30", "cap_kwh": "9.5", "minimum_amount": "2.00", "adjustment": "7/5",
        "meter": "site", "dropped_days": [{"date": "2026-09-04", "reason": "dual_event"}],
    }  # fmt: skip
    shown = Console(width=160, record=True, file=StringIO())

    rendering_statement.show_statement(shown, statement | {"events": [event]})

    text = shown.export_text()
    assert "× bonus 1.30 × share 1.00" in text
    assert ", at most 9.5 kWh, at least $2.00" in text
    assert "baseline × 1.40, the ratio of the hours beside the event to those of the days below" in text
    assert "not in it: 2026-09-04, dual event" in text
    assert "load" in text


async def test_the_days_behind_a_baseline_are_shown_with_what_each_metered(tmp_path: Path):
    story = await a_dispatched_home(now=CLOSED)
    await story.settled_and_paid()
    statement: Any = await money.show_statement(a_desk_of(story, tmp_path), owner_id="owner-home")
    (event,) = statement["events"]
    shown = Console(width=160, record=True, file=StringIO())

    rendering_statement.show_statement(shown, statement)

    assert [each["date"] for each in event["days_behind"]] == event["baseline_days"]
    for place, hour in enumerate(event["hours"]):
        assert sum(day["metered_wh"][place] for day in event["days_behind"]) == 10 * hour["baseline_wh"]
    text = shown.export_text()
    assert "the baseline of a whole hour is the average of:" in text
    assert "2026-09-08" in text


async def test_hours_below_the_baseline_and_a_statement_without_events_are_said_in_words(tmp_path: Path):
    story = await a_dispatched_home(now=CLOSED)
    await story.settled_and_paid()
    statement: Any = await money.show_statement(a_desk_of(story, tmp_path), owner_id="owner-home")
    below = statement["events"][0] | {"incremental_wh": -2_027, "paid_wh": 0}
    shown = Console(width=160, record=True, file=StringIO())

    rendering_statement.show_statement(shown, statement | {"events": [below]})
    rendering_statement.show_statement(shown, statement | {"events": []})

    text = shown.export_text()
    assert "the hours sum to -2.027 kWh; by the program's rule 0.00 kWh of it count" in text
    assert "No event has been settled for a home of yours" in text


async def test_an_owners_event_tells_what_each_similar_day_metered(tmp_path: Path):
    story = await a_dispatched_home(now=CLOSED)
    await story.settled_and_paid()

    found: Any = await show_own_event(a_desk_of(story, tmp_path), owner_id="owner-home", event_id="ev-1")

    (line,) = found["lines"]
    assert list(line["day_kwh"]) == line["baseline_days"]
    assert line["day_kwh"]["2026-09-08"] == "1.00, 1.00, 1.00"

"""Staff keep the books: they pay owners once, correct by reversal, and see what programs still owe."""

import csv
import io
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.domain.money_world import EVENT_DAY, a_program, an_evening_history, local
from tests.stages.money_story import ENDS_AT, TEN_DAYS, MoneyStory, a_dispatched_home
from vpp.adapters.clock import SteppedClock
from vpp.adapters.keys import FileKeys
from vpp.domain.delivery import Quality
from vpp.domain.program import NegativePolicy, Program
from vpp.entrypoints.operations import books, days, forgetting, money, own_data, payouts, write_offs
from vpp.entrypoints.operations.desk import Desk, OperationRefused

CLOSED = ENDS_AT + timedelta(days=9)


def a_desk(story: MoneyStory, folder: Path) -> Desk:
    return Desk(story.store, story.clock, FileKeys(folder), {story.program.program_id: story.program})


async def closed_books(folder: Path) -> tuple[MoneyStory, Desk]:
    """Return a world in which one owner is owed $18.00, posted."""
    story = await a_dispatched_home(now=CLOSED)
    await story.settled_and_paid()
    return story, a_desk(story, folder)


def facts(answer: dict[str, Any]) -> dict[str, Any]:
    return answer


async def test_a_run_is_made_once_and_tells_the_bank_whom_to_pay(tmp_path: Path):
    _, desk = await closed_books(tmp_path)

    first = await payouts.run_payout(desk, run_id="2026-10")
    again = await payouts.run_payout(desk, run_id="2026-10")

    assert again == first
    assert (first["owners"], first["totals"]) == (1, {"USD": "18.00"})
    (row,) = csv.DictReader(io.StringIO(str(first["file"])))
    assert (row["owner_id"], row["amount"], row["currency"], row["state"]) == (
        "owner-home",
        "18.00",
        "USD",
        "on_its_way",
    )
    with pytest.raises(OperationRefused, match="no owner is owed"):
        await payouts.run_payout(desk, run_id="2026-11")


async def test_a_run_that_is_called_back_is_owed_again_and_a_paid_one_stays_paid(tmp_path: Path):
    story, desk = await closed_books(tmp_path)
    await payouts.run_payout(desk, run_id="first")
    await payouts.cancel_payout(desk, run_id="first")
    await payouts.run_payout(desk, run_id="second")

    paid = await payouts.confirm_payout(desk, run_id="second")

    assert [each["state"] for each in facts(paid)["payouts"]] == ["paid"]
    assert await story.owed("home") == (0, 0)
    with pytest.raises(OperationRefused, match="payout run second is paid; it stays so"):
        await payouts.cancel_payout(desk, run_id="second")
    with pytest.raises(OperationRefused, match="payout run first is called back; it stays so"):
        await payouts.confirm_payout(desk, run_id="first")
    assert [run["state"] for run in facts(await payouts.list_payouts(desk))["runs"]] == [
        "called_back",
        "paid",
    ]
    assert (await money.verify_ledger(desk))["balanced"]


async def test_a_statement_tells_what_is_owed_from_what_is_on_its_way_and_paid(tmp_path: Path):
    _, desk = await closed_books(tmp_path)
    await payouts.run_payout(desk, run_id="2026-10")

    on_its_way = await money.show_statement(desk, owner_id="owner-home")
    await payouts.confirm_payout(desk, run_id="2026-10")
    paid = await money.show_statement(desk, owner_id="owner-home")

    names = ("pending_usd", "posted_usd", "on_its_way_usd", "paid_out_usd")
    assert [on_its_way[name] for name in names] == ["0.00", "18.00", "18.00", "0.00"]
    assert [paid[name] for name in names] == ["0.00", "0.00", "0.00", "18.00"]


async def test_a_correction_reverses_and_books_anew_and_says_who_and_why(tmp_path: Path):
    story, desk = await closed_books(tmp_path)
    late = [(local(EVENT_DAY, 19), 1, 1, Quality.OK)]  # a second value for one instant
    await story.metered("home", late)

    found = await books.correct_event(desk, event_id="ev-1", reason="late readings", actor="operator:ada")
    again = await books.correct_event(desk, event_id="ev-1", reason="once more", actor="operator:ada")

    memos = [entry.memo for entry in await story.books()]
    assert (found["entries"], again["entries"]) == (2, 0)
    assert memos[-2].startswith("Reversal: ")
    assert memos[-1].startswith("Correction by operator:ada: late readings: ")
    assert (await money.verify_ledger(desk))["balanced"]


async def three_evenings(
    folder: Path, program: Program, *, now: datetime = CLOSED + timedelta(days=2)
) -> tuple[MoneyStory, Desk]:
    """Return a world with three settled evenings of one home: it lost 3 kWh, and gave 9 kWh twice."""
    story = MoneyStory(clock=SteppedClock(now), program=program)
    evenings = [EVENT_DAY + timedelta(days=number) for number in range(3)]
    gave = [[0] * 3, [4_000] * 3, [4_000] * 3]
    histories = [
        an_evening_history(gave[number], [*reversed(gave[:number]), *TEN_DAYS], day=day)
        for number, day in enumerate(evenings)
    ]
    await story.home("home", *reversed(histories))
    for number, day in enumerate(evenings):
        at = local(day, 18)
        await story.event(f"ev-{number}", starts_at=at, ends_at=local(day, 21))
        await story.dispatched(0, event_id=f"ev-{number}", at=at)
    for number in range(3):
        await story.settled_and_paid(f"ev-{number}")
    return story, a_desk(story, folder)


async def of_events(story: MoneyStory) -> list[tuple[str, str, int, int]]:
    """Return what stands of each event: its id, state, watt-hours paid and cents."""
    return sorted(
        (run.event_id, run.state.value, int(line.paid_wh), line.amount // 10_000)
        for run in await story.store.settlements()
        for line in run.lines
    )


async def test_correcting_an_event_settles_those_after_it_again_where_a_season_nets(tmp_path: Path):
    nets = a_program(negative_policy=NegativePolicy.NET_SEASON_FLOOR_ZERO)
    story, desk = await three_evenings(tmp_path, nets)
    before = await of_events(story)
    for day in (EVENT_DAY, EVENT_DAY + timedelta(days=2)):  # the first evening, and the last
        await story.metered("home", [(local(day, 19), 1, 1, Quality.OK)])

    found = await books.correct_event(desk, event_id="ev-0", reason="late", actor="operator:ada")
    after, owed = await of_events(story), await story.owed("home")
    again = await books.correct_event(desk, event_id="ev-0", reason="late", actor="operator:ada")

    assert before == [
        ("ev-0", "final", 0, 0),
        ("ev-1", "final", 6_000, 1_200),
        ("ev-2", "final", 9_000, 1_800),
    ]
    assert after == [
        ("ev-0", "corrected", 0, 0),  # two hours of three are not believed now: 1 kWh was lost
        ("ev-1", "corrected", 8_000, 1_600),
        ("ev-2", "final", 9_000, 1_800),  # what it earned is the same, so its own late reading waits
    ]
    assert owed == (3_400, 0)
    assert (found["entries"], again["entries"]) == (2, 0)
    assert await of_events(story) == after
    memos = [entry.memo for entry in await story.books()]
    assert memos[-1].startswith("Correction of ev-0 by operator:ada: late: ")
    assert (await money.verify_ledger(desk))["balanced"]


async def test_settling_an_event_again_settles_the_open_ones_after_it_where_a_season_nets(tmp_path: Path):
    nets = a_program(negative_policy=NegativePolicy.NET_SEASON_FLOOR_ZERO)
    story, desk = await three_evenings(tmp_path, nets, now=local(EVENT_DAY + timedelta(days=2), 22))
    await story.metered("home", [(local(EVENT_DAY, 19), 1, 1, Quality.OK)])

    await money.settle_event(desk, event_id="ev-0")

    statement = await money.show_statement(desk, owner_id="owner-home")
    assert await of_events(story) == [
        ("ev-0", "provisional", 0, 0),
        ("ev-1", "provisional", 8_000, 1_600),  # 1 kWh was lost the evening before, not 3
        ("ev-2", "provisional", 9_000, 1_800),
    ]
    assert [each["carried_wh"] for each in statement["events"]] == [0, -1_000, 8_000]
    assert await story.owed("home") == (0, 3_400)


async def test_correction_that_stopped_half_way_is_finished_by_the_next(tmp_path: Path):
    nets = a_program(negative_policy=NegativePolicy.NET_SEASON_FLOOR_ZERO)
    story, desk = await three_evenings(tmp_path, nets)
    await story.metered("home", [(local(EVENT_DAY, 19), 1, 1, Quality.OK)])
    await story.settled_and_paid("ev-0", correcting=True)
    await story.settled("ev-1", correcting=True)  # stored, and not booked

    await books.correct_event(desk, event_id="ev-0", reason="late", actor="operator:ada")

    assert await story.owed("home") == (3_400, 0)


async def test_correcting_an_event_leaves_those_after_it_where_no_season_nets(tmp_path: Path):
    story, desk = await three_evenings(tmp_path, a_program())
    for number in range(3):
        day = EVENT_DAY + timedelta(days=number)
        await story.metered("home", [(local(day, 19), 1, 1, Quality.OK)])

    await books.correct_event(desk, event_id="ev-0", reason="late", actor="operator:ada")

    assert [state for _, state, _, _ in await of_events(story)] == ["corrected", "final", "final"]


async def paid_too_much(folder: Path) -> tuple[MoneyStory, Desk]:
    """Return a world in which an owner was paid $18.00, and a correction takes some of it back."""
    story, desk = await closed_books(folder)
    await payouts.run_payout(desk, run_id="first")
    await payouts.confirm_payout(desk, run_id="first")
    await story.metered("home", [(local(EVENT_DAY, 19), 1, 1, Quality.OK)])
    await books.correct_event(desk, event_id="ev-1", reason="late readings", actor="operator:ada")
    return story, desk


async def test_what_an_owner_who_left_owes_is_written_off_and_the_owner_can_be_forgotten(tmp_path: Path):
    story, desk = await paid_too_much(tmp_path)
    whose: Any = {"owner_id": "owner-home", "actor": "operator:ada"}
    why: Any = {**whose, "reason": "not worth a letter"}
    owed, _ = await story.owed("home")
    with pytest.raises(OperationRefused, match="home home has not left the program: what it earns next"):
        await write_offs.write_off_owner(desk, **why)
    await own_data.leave_program(desk, site_id="home", **whose)
    dollars = f"{-owed // 100}.{-owed % 100:02d}"
    said = re.escape(f"owner owner-home owes ${dollars} after a correction; once it is final, ")
    with pytest.raises(OperationRefused, match=f"{said}vpp owner write-off owner-home --reason WHY bears it"):
        await forgetting.forget_owner(desk, **whose)
    with pytest.raises(OperationRefused, match="a write-off needs a reason"):
        await write_offs.write_off_owner(desk, **why | {"reason": ""})

    found = await write_offs.write_off_owner(desk, **why)

    assert owed < 0
    assert (found["written_off_usd"], found["posted_usd"]) == (dollars, "0.00")
    assert (await story.books())[-1].memo == "Written off by operator:ada: not worth a letter"
    (noted, *_) = await desk.store.trail(subject="owner:owner-home", limit=9)
    assert (noted.actor, noted.action) == ("operator:ada", "write off")
    assert noted.reason == f"${dollars}: not worth a letter"
    (borne,) = facts(await money.show_statement(desk, owner_id="owner-home"))["write_offs"]
    assert (borne["amount_usd"], borne["why"]) == (dollars, "Written off by operator:ada: not worth a letter")
    sums = await account_sums(desk)
    assert (sums["owner_payable"], sums["aggregator_margin"]) == ("0.00", dollars)
    with pytest.raises(OperationRefused, match="owner owner-home owes nothing"):
        await write_offs.write_off_owner(desk, **why)
    assert (await forgetting.forget_owner(desk, **whose))["owner_id"] == "owner-home"


async def test_an_owner_who_is_owed_is_paid_and_not_written_off(tmp_path: Path):
    _, desk = await closed_books(tmp_path)
    whose: Any = {"owner_id": "owner-home", "actor": "operator:ada"}
    await own_data.leave_program(desk, site_id="home", **whose)

    with pytest.raises(OperationRefused, match="owner owner-home owes nothing"):
        await write_offs.write_off_owner(desk, **whose, reason="gone")
    with pytest.raises(OperationRefused, match=r"\$18.00 of owner owner-home is not paid out yet"):
        await forgetting.forget_owner(desk, **whose)
    await payouts.run_payout(desk, run_id="first")
    with pytest.raises(OperationRefused, match=r"\$0.00 pending and \$18.00 on its way"):
        await write_offs.write_off_owner(desk, **whose, reason="gone")


async def test_an_event_that_is_open_needs_no_correction(tmp_path: Path):
    story = await a_dispatched_home()
    await story.settled_and_paid()

    with pytest.raises(OperationRefused, match="event ev-1 is not closed; vpp settle ev-1"):
        await books.correct_event(a_desk(story, tmp_path), event_id="ev-1", reason="why not", actor="a")


def payments(*lines: str) -> bytes:
    return "\n".join(["program_id,period,reference,paid", *lines, ""]).encode()


async def test_what_a_program_paid_is_booked_once_and_what_is_open_is_listed(tmp_path: Path):
    _, desk = await closed_books(tmp_path)
    content = payments("elrp-a4-pge,ev-1,wire-7,17.50")

    first = await books.reconcile_ledger(desk, content=content, file_name="paid.csv")
    again = await books.reconcile_ledger(desk, content=content, file_name="paid.csv")

    assert [(each["booked"], each["known"]) for each in (first, again)] == [(1, 0), (0, 1)]
    assert first["open"] == [
        {
            "program_id": "elrp-a4-pge",
            "period": "ev-1",
            "due_usd": "18.00",
            "received_usd": "17.50",
            "rounded_usd": "0.00",
            "difference_usd": "0.50",
        }
    ]
    rest = await books.reconcile_ledger(
        desk, content=payments("elrp-a4-pge,ev-1,wire-8,0.5"), file_name="paid.csv"
    )
    assert rest["open"] == []
    assert (await money.verify_ledger(desk))["balanced"]


async def account_sums(desk: Desk) -> dict[str, str]:
    found = facts(await money.verify_ledger(desk))
    assert found["balanced"]
    return {name: sums["posted_usd"] for name, sums in found["accounts"].items()}


@pytest.mark.parametrize(("paid", "rest"), [("18.00", "0.006000"), ("18.01", "-0.004000")])
async def test_what_a_payer_of_whole_cents_leaves_is_rounding_and_clears_the_receivable(
    tmp_path: Path, paid: str, rest: str
):
    story = MoneyStory(clock=SteppedClock(CLOSED))
    await story.home("home", an_evening_history([4_001] * 3, TEN_DAYS))  # 9,003 Wh at $2: $18.006
    await story.event()
    await story.dispatched(0)
    await story.settled_and_paid()
    desk = a_desk(story, tmp_path)
    content = payments(f"elrp-a4-pge,ev-1,wire-7,{paid}")

    first = facts(await books.reconcile_ledger(desk, content=content, file_name="paid.csv"))
    again = facts(await books.reconcile_ledger(desk, content=content, file_name="paid.csv"))

    assert first["rounded"] == [
        {
            "program_id": "elrp-a4-pge",
            "period": "ev-1",
            "due_usd": "18.006000",
            "received_usd": paid,
            "rounded_usd": rest,
            "difference_usd": "0.00",
        }
    ]
    assert (first["open"], again["open"], again["rounded"]) == ([], [], [])
    assert (await account_sums(desk))["program_receivable"] == "0.00"


async def test_a_whole_cent_less_stays_open(tmp_path: Path):
    _, desk = await closed_books(tmp_path)

    found = facts(
        await books.reconcile_ledger(
            desk, content=payments("elrp-a4-pge,ev-1,wire-7,17.99"), file_name="paid.csv"
        )
    )

    assert [each["difference_usd"] for each in found["open"]] == ["0.01"]
    assert found["rounded"] == []
    assert (await account_sums(desk))["program_receivable"] == "0.01"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("elrp-a4-pge,ev-1,wire-7,1.234", "paid.csv:3: paid: '1.234' is not money"),
        ("elrp-a4-pge,ev-1,,1", "paid.csv:3: reference: '' is not a text of 1"),
        ("elrp-a4-pge,ev-1,wire-1,2", "paid.csv:3: reference: 'wire-1' stands twice for ev-1"),
        ("elrp-a4-pge,ev-9,wire-2,2", "paid.csv:3: elrp-a4-pge owes nothing for ev-9"),
    ],
)
async def test_a_payments_file_is_booked_whole_or_not_at_all(tmp_path: Path, line: str, fault: str):
    story, desk = await closed_books(tmp_path)
    before = await story.books()

    with pytest.raises(OperationRefused) as refused:
        await books.reconcile_ledger(
            desk, content=payments("elrp-a4-pge,ev-1,wire-1,1.00", line), file_name="paid.csv"
        )

    assert refused.value.faults[0].startswith(fault)
    assert await story.books() == before


async def test_a_reference_with_another_amount_is_refused(tmp_path: Path):
    _, desk = await closed_books(tmp_path)
    await books.reconcile_ledger(
        desk, content=payments("elrp-a4-pge,ev-1,wire-7,17.50"), file_name="paid.csv"
    )

    with pytest.raises(OperationRefused, match="booked with another amount") as refused:
        await books.reconcile_ledger(
            desk, content=payments("elrp-a4-pge,ev-1,wire-7,18.00"), file_name="paid.csv"
        )
    assert refused.value.faults == ("paid.csv:2: reference 'wire-7' is booked with another amount",)


async def test_the_ledger_is_exported_posting_by_posting(tmp_path: Path):
    story, desk = await closed_books(tmp_path)

    found = await books.export_ledger(desk, layout="csv")

    rows = list(csv.DictReader(io.StringIO(str(found["text"]))))
    assert len(rows) == sum(len(entry.postings) for entry in await story.books())
    assert {row["state"] for row in rows} == {"pending", "posted"}
    owner = next(row for row in rows if row["account"] == "owner_payable")
    assert (owner["party"], owner["amount"], owner["site_id"]) == ("owner-home", "-18.000000", "home")
    assert (found["chain_link"], found["chain_head"]) == await story.store.newest_link()


async def test_the_ledger_is_exported_for_beancount(tmp_path: Path):
    _, desk = await closed_books(tmp_path)

    text = str((await books.export_ledger(desk, layout="beancount"))["text"])

    assert '2026-09-19 * "Settlement of ev-1, site home"' in text
    assert "  Liabilities:Payable:P-owner-home  -18.000000 USD\n" in text
    assert "  Assets:Receivable:P-elrp-a4-pge  18.000000 USD\n" in text
    assert text.count(" open ") == 2
    with pytest.raises(OperationRefused, match="layout 'pdf' is not one of csv, beancount"):
        await books.export_ledger(desk, layout="pdf")


async def test_a_day_without_power_is_kept_out_of_a_homes_baseline(tmp_path: Path):
    story = MoneyStory()
    await story.home("home", an_evening_history([4_000] * 3, [[9_000] * 3, *TEN_DAYS]))
    await story.event()
    await story.dispatched(0)
    desk = a_desk(story, tmp_path)

    await days.exclude_day(desk, site_id="home", day="2026-09-08", reason="outage", actor="staff:ana")
    again = await days.exclude_day(desk, site_id="home", day="2026-09-08", reason="outage", actor="staff:ana")

    assert again in facts(await days.list_days(desk))["days"]
    settlement = await story.settled()
    assert settlement is not None
    assert settlement.lines[0].incremental_wh == 9_000
    for changes, fault in (
        ({"reason": "rain"}, "reason 'rain' is not one of outage"),
        ({"day": "2026-13-01"}, "day '2026-13-01' is not a date"),
        (
            {"day": "2026-09-11"},
            "2026-09-11 is after tomorrow, 2026-09-10; exclude it when what keeps it out",
        ),
        ({"site_id": "*", "day": "2027-09-09"}, "2027-09-09 is after tomorrow"),
        ({"site_id": "nobody"}, "site nobody is not enrolled"),
        ({"reason": "event"}, "2026-09-08 is excluded for home already, because of outage"),
    ):
        arguments = {"site_id": "home", "day": "2026-09-08", "reason": "outage", "actor": "a"} | changes
        with pytest.raises(OperationRefused, match=fault):
            await days.exclude_day(desk, **arguments)


async def test_a_day_that_was_excluded_by_mistake_counts_again_and_the_trail_says_who_did_both(
    tmp_path: Path,
):
    story = MoneyStory()
    await story.home("home", an_evening_history([4_000] * 3, [[9_000] * 3, *TEN_DAYS]))
    await story.event()
    await story.dispatched(0)
    desk = a_desk(story, tmp_path)
    site, day = "*", "2026-09-08"
    first = await story.settled()
    await days.exclude_day(desk, site_id=site, day=day, reason="outage", actor="staff:ana")
    without = await story.settled()

    assert isinstance(story.clock, SteppedClock)
    story.clock.step_to(story.clock.now() + timedelta(minutes=1))
    taken_back = await days.include_day(desk, site_id=site, day=day, actor="staff:ben")
    again = await days.include_day(desk, site_id=site, day=day, actor="staff:ben")
    counted = await story.settled()

    assert (taken_back["reason"], again["reason"]) == ("outage", None)
    assert facts(await days.list_days(desk))["days"] == []
    assert first is not None
    assert without is not None
    assert counted is not None
    assert without.lines[0].amount != first.lines[0].amount == counted.lines[0].amount
    trail = await desk.store.trail(subject="site:*", limit=9)
    assert sorted((each.actor, each.action, each.reason) for each in trail) == [
        ("staff:ana", "exclude day", "2026-09-08, outage"),
        ("staff:ben", "include day", "2026-09-08, outage is taken back"),
    ]
    await days.exclude_day(desk, site_id=site, day=day, reason="dual_event", actor="staff:ana")
    assert facts(await days.list_days(desk))["days"] == [{"site_id": "*", "day": day, "reason": "dual_event"}]

"""What the kill runs compare: each check must find what it is there for."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from simulators.chaos.at_rest import Fleet, asked_by
from simulators.chaos.checks import Auditor, Executed
from simulators.chaos.homes import Past
from simulators.chaos.plan import hours_touched
from simulators.chaos.wire import Heard
from simulators.home_files import SITES_FILE, read_site_ids
from tests.adapters.store_world import a_request
from tests.adapters.test_store_sql import execute
from tests.journeys.test_restore import a_running_evening
from tests.simulation.gateways import a_command
from vpp.adapters.sql.store import SqlStore
from vpp.domain.command import Action
from vpp.domain.delivery import MeterMessage, MeterReading, Quality
from vpp.domain.quantities import Permille, WattHours, Watts
from vpp.wire.meter_file import read_meter_file

NOW = datetime(2026, 3, 10, 22, 40, tzinfo=UTC)  # two days after the clocks of California went forward
BOOT = "0" * 32


def test_a_command_executed_again_or_after_a_newer_one_is_found_over_several_reports() -> None:
    executed = Executed()

    assert executed.faults({"s-1": [(7, 1), (7, 2)], "s-2": [(7, 2)]}) == []
    assert executed.faults({"s-2": [(8, 3)]}) == []
    again = executed.faults({"s-1": [(7, 2)]})
    older = executed.faults({"s-2": [(8, 2), (8, 4)]})

    assert again == [("doubled", "site s-1 executed (7, 2) after (7, 2)")]
    assert older == [("doubled", "site s-2 executed (8, 2) after (8, 3)")]
    assert executed.count == 7


def test_a_restart_that_moves_power_or_stops_homes_is_found() -> None:
    before = Fleet(asked_w=200_000, discharging=100, short_w=0)

    assert before.moved_by(Fleet(202_000, 99, 0)) is None
    assert before.moved_by(Fleet(202_001, 100, 0)) is not None
    assert before.moved_by(Fleet(197_000, 100, 0)) is not None
    assert before.moved_by(Fleet(200_000, 98, 0)) is not None


def test_a_home_that_reports_beside_a_restart_may_give_what_was_lacking_and_no_more() -> None:
    before = Fleet(asked_w=10_000, discharging=5, short_w=9_000)

    assert before.moved_by(Fleet(19_100, 7, 0)) is None
    assert before.moved_by(Fleet(19_101, 7, 0)) is not None
    assert before.moved_by(Fleet(9_000, 5, 9_000)) is not None


def test_a_lease_that_nobody_renewed_in_time_is_not_what_a_restart_moves() -> None:
    needed = a_command(expires_at=NOW + timedelta(seconds=20), discharge_w=Watts(3_000))
    of_one_replaced = a_command(expires_at=NOW + timedelta(seconds=4), discharge_w=Watts(3_800))
    release = a_command(action=Action.RELEASE, expires_at=NOW + timedelta(hours=1))

    assert asked_by([needed, of_one_replaced, release], NOW) == 3_000


async def test_a_receipt_beyond_what_is_stored_and_a_command_of_no_tick_are_found(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'vpp.sqlite'}"
    store = await SqlStore.open(url)
    await store.enroll([a_request("s-1")], at=NOW)
    readings = tuple(
        MeterReading("s-1", BOOT, index, NOW, WattHours(10), WattHours(10), Permille(500), Quality.OK)
        for index in (1, 2, 4)
    )
    await store.append([MeterMessage("s-1", BOOT, 1, readings)], at=NOW)
    auditor, heard = Auditor(url), Heard()

    heard.confirmed["s-1", BOOT] = 2
    assert await auditor.audit(heard) == []
    heard.confirmed["s-1", BOOT] = 4
    heard.commands["s-1", 7, 1] = b""
    heard.fresh.append(("s-1", 7, 1))
    faults = await auditor.audit(heard)
    await store.close()

    assert faults == [
        ("wrong", "command ('s-1', 7, 1) was sent and no committed tick holds it"),
        ("lost", f"site s-1 got a receipt through 4 of boot {BOOT[:8]}, and reading 3 is not stored"),
    ]


async def test_a_run_of_which_a_tick_cannot_be_made_again_is_found(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'vpp.db'}"
    evening = await a_running_evening(url)
    await evening.world.signal(3_000)
    await evening.tick()
    await evening.world.store.close()
    auditor = Auditor(url)

    assert await auditor.made_again() == []
    await execute(url, "DELETE FROM tick_basis WHERE number = 2")

    assert await auditor.made_again() == [
        ("wrong", "made again, tick 2: what was known when it was decided is not stored")
    ]


def test_the_history_of_a_large_fleet_covers_the_hours_that_its_events_can_touch(tmp_path: Path) -> None:
    past = Past.of(3, 1, until=NOW)

    (file,) = past.write(tmp_path, hours=2)

    messages = read_meter_file(file.read_bytes(), now=NOW, file_name=file.name)
    assert {each.site_id for each in messages} == set(read_site_ids(tmp_path / SITES_FILE))
    times = [reading.at for reading in messages[0].readings]
    assert {at.hour for at in times} == {22, 23, 0}
    assert times[-1] == NOW.replace(minute=0)  # no reading of the present day but the last
    assert {at.date() for at in times if at.hour == 22} == {
        day.date() for day in (NOW - timedelta(days=back) for back in range(22)) if day.weekday() < 5
    }
    assert len(times) == 15 * 3 + 1
    assert times[0] == NOW.replace(minute=0) - timedelta(days=21)


def test_the_longer_a_run_and_the_later_it_begins_in_an_hour_the_more_hours_have_a_history() -> None:
    assert hours_touched(24, 8, minute=0) == 24
    assert [hours_touched(10_000, 8, minute=at) for at in (0, 42, 43, 59)] == [1, 1, 2, 2]
    assert hours_touched(10_000, 1000, minute=0) == 5
    assert hours_touched(10_000, 10_000, minute=0) == 24

"""A simulated gateway starts, ramps, ends and resumes a lease when the protocol says."""

import pytest

from simulators.command_disk import MemoryDisk
from tests.simulation.gateways import (
    ENDS,
    STARTS,
    a_command,
    a_gateway,
    a_release,
    a_running_gateway,
    readings,
    told,
)
from vpp.domain.command import start_delay_s
from vpp.domain.interval import from_epoch
from vpp.wire.gateway_telemetry import GridState


def test_start_waits_for_the_sites_own_delay_and_ramps_for_thirty_seconds() -> None:
    gateway = a_gateway()
    told(gateway, a_command())
    begins = STARTS + start_delay_s("s-7f3a", "ev-1", 60)

    gateway.advance(begins - 1)
    at_rest = gateway.inverter.power_w
    gateway.advance(begins)
    first = gateway.inverter.power_w
    gateway.advance(begins + 15)
    half = gateway.inverter.power_w
    gateway.advance(begins + 30)

    assert (at_rest, first, half, gateway.inverter.power_w) == (0, 140, 2_240, 4_200)


def test_renewal_of_the_same_power_is_no_step() -> None:
    gateway = a_running_gateway()
    renewal = a_command(
        sequence=11,
        issued_at=from_epoch(STARTS + 300),
        starts_at=from_epoch(STARTS + 300),
        expires_at=from_epoch(STARTS + 1200),
    )
    told(gateway, renewal, STARTS + 301)

    powers = set()
    for at_s in range(STARTS + 300, STARTS + 1200, 1):
        gateway.advance(max(at_s, STARTS + 301))
        powers.add(gateway.inverter.power_w)

    assert powers == {4_200}


def test_power_change_has_no_delay() -> None:
    gateway = a_running_gateway()
    now = from_epoch(STARTS + 300)
    told(gateway, a_command(sequence=11, discharge_w=2_000, issued_at=now, starts_at=now), STARTS + 300)

    gateway.advance(STARTS + 330)

    assert gateway.inverter.power_w == 2_000


def test_home_still_waiting_keeps_the_earlier_of_two_starts() -> None:
    gateway = a_gateway()
    told(gateway, a_command(spread_s=60))
    begins = STARTS + start_delay_s("s-7f3a", "ev-1", 60)
    assert begins > STARTS + 2
    late = from_epoch(STARTS + 1)
    told(gateway, a_command(sequence=11, issued_at=late, starts_at=late), STARTS + 1)

    gateway.advance(begins + 30)

    assert gateway.inverter.power_w == 4_200


def test_home_discharging_for_one_event_goes_on_until_the_next_one_starts() -> None:
    gateway = a_running_gateway()
    later = a_command(
        sequence=11,
        event_id="ev-2",
        discharge_w=5_000,
        issued_at=from_epoch(STARTS + 200),
        starts_at=from_epoch(STARTS + 320),
        expires_at=from_epoch(STARTS + 1100),
    )
    told(gateway, later, STARTS + 200)

    gateway.advance(STARTS + 319)
    before = gateway.inverter.power_w
    gateway.advance(STARTS + 351)

    assert (before, gateway.inverter.power_w) == (4_200, 5_000)


def test_lease_that_nobody_renews_ends_by_itself() -> None:
    gateway = a_running_gateway()
    ends = STARTS + 780 + start_delay_s("s-7f3a", "ev-1", 60)

    gateway.advance(ends - 1)
    before = gateway.inverter.power_w
    said = gateway.advance(ends + 30)

    assert (before, gateway.inverter.power_w) == (4_200, 0)
    assert readings(said)[-1].at == from_epoch(ends + 30)


def test_ramp_down_is_complete_when_the_event_ends() -> None:
    gateway = a_gateway()
    told(gateway, a_command(event_ends_at=from_epoch(STARTS + 780)))
    delay = start_delay_s("s-7f3a", "ev-1", 60)

    gateway.advance(STARTS + 780 - 30 - delay - 1)
    before = gateway.inverter.power_w
    gateway.advance(STARTS + 780 - delay)

    assert (before, gateway.inverter.power_w) == (4_200, 0)


def test_reaching_the_floor_the_home_ramps_to_zero_by_itself() -> None:
    gateway = a_gateway(soc_pct=22)
    told(gateway, a_command())

    lowest = 1000
    for at_s in range(STARTS, STARTS + 780, 1):
        gateway.advance(at_s)
        lowest = min(lowest, gateway.inverter.battery.soc_permille)

    assert lowest == 200
    assert not gateway.inverter.discharging
    assert gateway.inverter.battery.above_tenths(200) >= 0


def test_the_homes_own_reserve_binds_where_it_is_higher() -> None:
    gateway = a_gateway(soc_pct=42, reserve_pct=40)
    told(gateway, a_command())

    gateway.advance(STARTS + 780)

    assert gateway.inverter.battery.soc_permille >= 400


def test_after_the_event_the_home_waits_before_it_charges_from_the_grid() -> None:
    gateway = a_gateway()
    told(gateway, a_command())
    gateway.advance(STARTS + 700)
    gateway.owner_sets_reserve(1000, STARTS + 700)
    allowed = ENDS + start_delay_s("s-7f3a", "ev-1", 1800)

    gateway.advance(allowed - 1)
    before = gateway.inverter.power_w
    gateway.advance(allowed + 300)

    assert before == 0
    assert gateway.inverter.power_w < 0


def test_accepted_command_is_resumed_after_a_reboot() -> None:
    gateway = a_running_gateway()

    gateway.reboot(STARTS + 200, boot_id="c" * 32)
    gateway.advance(STARTS + 260)

    assert gateway.inverter.power_w == 4_200


@pytest.mark.parametrize("offset_ms", [None, 31_000])
def test_nothing_is_resumed_while_the_clock_is_unsure(offset_ms: int | None) -> None:
    gateway = a_running_gateway()
    gateway.clock_offset_ms = offset_ms

    gateway.reboot(STARTS + 200, boot_id="c" * 32)
    gateway.advance(STARTS + 260)

    assert gateway.inverter.power_w == 0


def test_command_kept_through_a_boot_without_the_time_is_resumed_once_the_time_is_known() -> None:
    gateway = a_running_gateway()
    gateway.clock_becomes(None, STARTS + 190)
    gateway.reboot(STARTS + 200, boot_id="c" * 32)

    gateway.clock_becomes(0, STARTS + 300)
    gateway.advance(STARTS + 330)

    assert gateway.inverter.power_w == 4_200


def test_command_whose_lease_ran_out_before_the_time_was_known_is_never_resumed() -> None:
    gateway = a_running_gateway()
    gateway.clock_becomes(None, STARTS + 190)
    gateway.reboot(STARTS + 200, boot_id="c" * 32)

    gateway.clock_becomes(0, STARTS + 780)
    gateway.advance(STARTS + 900)

    assert gateway.inverter.power_w == 0


@pytest.mark.parametrize(
    "end",
    [
        lambda gateway: told(gateway, a_release(11, STARTS + 250), STARTS + 250),
        lambda gateway: gateway.owner_opts_out(True, STARTS + 250) and gateway.owner_opts_out(False, STARTS),
        lambda gateway: (
            gateway.grid_becomes(GridState.ISLANDED, STARTS + 250)
            and gateway.grid_becomes(GridState.CONNECTED, STARTS + 260)
        ),
    ],
    ids=["released", "the owner said no", "an outage"],
)
def test_command_ended_while_it_waited_for_the_time_is_never_resumed(end) -> None:
    gateway = a_running_gateway()
    gateway.clock_becomes(None, STARTS + 190)
    gateway.reboot(STARTS + 200, boot_id="c" * 32)
    end(gateway)

    gateway.clock_becomes(0, STARTS + 300)
    gateway.advance(STARTS + 400)

    assert not gateway.opted_out
    assert gateway.inverter.power_w == 0


def test_command_stopped_by_the_home_is_not_resumed_after_a_reboot() -> None:
    gateway = a_running_gateway()
    gateway.owner_opts_out(True, STARTS + 130)
    gateway.owner_opts_out(False, STARTS + 140)

    gateway.reboot(STARTS + 200, boot_id="c" * 32)
    gateway.advance(STARTS + 260)

    assert gateway.inverter.power_w == 0


def test_gateway_that_lost_its_disk_refuses_what_was_issued_before_its_boot() -> None:
    disk = MemoryDisk()
    gateway = a_running_gateway(disk=disk)
    disk.lose()
    gateway.reboot(STARTS + 200, boot_id="c" * 32)

    assert told(gateway, a_command(), STARTS + 201) == [(10, "stale_sequence")]
    at = from_epoch(STARTS + 210)
    assert told(gateway, a_command(sequence=11, issued_at=at, starts_at=at), STARTS + 211) == [(11, None)]

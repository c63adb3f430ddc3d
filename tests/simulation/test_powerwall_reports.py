"""A simulated gateway tells and measures what it does; and no command harms a battery."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.fleet_disk import FleetDisk
from simulators.online_home import CuttableDisk, PowerCut
from tests.simulation.gateways import (
    BOOTED,
    CONTROLLER,
    ENDS,
    STARTS,
    STRANGER,
    a_command,
    a_gateway,
    a_release,
    a_running_gateway,
    readings,
    samples,
    signed,
    told,
)
from vpp.domain.command import start_delay_s
from vpp.domain.delivery import MeterReceipt
from vpp.domain.interval import from_epoch, to_epoch
from vpp.ports import Packet
from vpp.wire.gateway import decode_status
from vpp.wire.gateway_meter import encode_receipt
from vpp.wire.gateway_telemetry import GridState, decode_telemetry
from vpp.wire.signed import sign


def test_presence_is_retained_and_its_will_says_offline() -> None:
    gateway = a_gateway()
    status = next(packet for packet in gateway.connect(BOOTED + 5) if packet.topic.endswith("/status"))

    assert status.retain
    assert decode_status(status.payload, site_id="s-7f3a").online is not None
    assert gateway.will.retain
    assert decode_status(gateway.will.payload, site_id="s-7f3a").online is None


@pytest.mark.parametrize("offset_ms", [None, 0, -12_000])
def test_presence_says_how_far_the_clock_is_off_and_nothing_where_that_is_unknown(
    offset_ms: int | None,
) -> None:
    gateway = a_gateway()
    gateway.clock_becomes(offset_ms, BOOTED + 4)

    status = next(packet for packet in gateway.connect(BOOTED + 5) if packet.topic.endswith("/status"))

    assert json.loads(status.payload)["clock_offset_ms"] == offset_ms
    here = decode_status(status.payload, site_id="s-7f3a").online
    assert here is not None
    assert here.clock_offset_ms == offset_ms


def test_samples_come_every_five_minutes_at_rest_and_every_thirty_seconds_in_an_event() -> None:
    gateway = a_gateway()
    idle = samples(gateway.advance(BOOTED + 1500))
    told(gateway, a_command())
    gateway.advance(STARTS)
    active = samples(gateway.advance(STARTS + 600))
    gateway.on_message(signed(a_release(11, STARTS + 600)), STARTS + 600)
    after = samples(gateway.advance(STARTS + 1200))

    assert len(idle) == 5
    assert len(active) == 20
    assert len(after) == 2


def test_sample_names_the_command_in_force_and_the_mean_power() -> None:
    gateway = a_running_gateway()
    before = gateway.inverter.battery.discharged_ws

    last = samples(gateway.advance(STARTS + 300))[-1]

    assert (last["epoch"], last["sequence"]) == (1_789_002_000, 10)
    assert last["battery_w"] == 4_200
    assert last["discharge_limit_w"] == 5_000
    assert decode_telemetry(json.dumps(last).encode(), site_id="s-7f3a").soc_permille == last["soc_pct"] * 10
    assert gateway.inverter.battery.discharged_ws - before == 4_200 * 180


def test_mean_power_after_a_spell_offline_goes_back_to_the_last_sample_sent() -> None:
    gateway = a_running_gateway()
    before = samples(gateway.connect(STARTS + 120))[-1]
    gateway.disconnect(STARTS + 121)

    back = samples(gateway.connect(STARTS + 1500))[0]

    given_wh = back["discharged_wh"] - before["discharged_wh"]
    assert given_wh > 700, "the lease went on while nobody heard"
    assert abs(back["battery_w"] - given_wh * 3600 / 1380) <= 3


def test_sample_sent_with_a_release_names_the_release() -> None:
    gateway = a_running_gateway()
    gateway.advance(STARTS + 130)

    said = samples(gateway.on_message(signed(a_release(11, STARTS + 130)), STARTS + 130))

    assert [(sample["epoch"], sample["sequence"]) for sample in said] == [(1_789_002_000, 11)]


def test_opt_out_at_home_ends_with_the_event_it_bound() -> None:
    gateway = a_running_gateway()
    gateway.owner_opts_out(True, STARTS + 300)

    said = samples(gateway.advance(ENDS + 1))

    assert said[-1]["opted_out"] is False
    assert [sample["opted_out"] for sample in said[:-1]] == [True] * (len(said) - 1)


def test_a_no_said_again_after_the_release_still_ends_with_the_event_it_bound() -> None:
    gateway = a_running_gateway()
    gateway.owner_opts_out(True, STARTS + 300)
    gateway.on_message(signed(a_release(11, STARTS + 310)), STARTS + 310)

    gateway.owner_opts_out(True, STARTS + 600)
    said = samples(gateway.advance(ENDS + 1))

    assert gateway.opted_out is False
    assert said[-1]["opted_out"] is False


def test_opt_out_at_home_ends_with_its_event_whatever_reboots_in_between() -> None:
    gateway = a_running_gateway()
    gateway.owner_opts_out(True, STARTS + 300)

    gateway.reboot(STARTS + 400, boot_id="c" * 32)
    said = samples(gateway.advance(ENDS + 1))

    assert said[-1]["opted_out"] is False
    assert [sample["opted_out"] for sample in said[:-1]] == [True] * (len(said) - 1)


@pytest.mark.parametrize("ended", ["refused", "stopped", "running"])
def test_reboot_within_an_event_keeps_its_pace_of_samples(ended: str) -> None:
    gateway = a_gateway(soc_pct=20 if ended == "refused" else 90)
    told(gateway, a_command())
    if ended == "stopped":
        gateway.fault_becomes("inverter", STARTS + 100)

    gateway.reboot(STARTS + 200, boot_id="c" * 32)
    active = samples(gateway.advance(STARTS + 800))
    gateway.advance(ENDS)
    after = samples(gateway.advance(ENDS + 900))

    assert (len(active), len(after)) == (20, 3)


def test_battery_rests_before_the_owners_no_is_written_down() -> None:
    disk = CuttableDisk()
    gateway = a_running_gateway(disk=disk)
    disk.cut = "before"

    with pytest.raises(PowerCut):
        gateway.owner_opts_out(True, STARTS + 300)

    assert not gateway.inverter.discharging
    gateway.reboot(STARTS + 300, boot_id="c" * 32)
    assert gateway.opted_out
    assert gateway.inverter.lease is None


def test_opt_out_is_remembered_by_a_gateway_whose_process_ended(tmp_path: Path) -> None:
    disk = FleetDisk(tmp_path / "homes.sqlite", now=from_epoch(BOOTED))
    a_running_gateway(disk=disk.of("s-7f3a")).owner_opts_out(True, STARTS + 300)
    disk.close()

    disk = FleetDisk(tmp_path / "homes.sqlite", now=from_epoch(BOOTED))
    again = a_gateway(disk=disk.of("s-7f3a"))

    assert again.opted_out
    assert samples(again.advance(ENDS + 1))[-1]["opted_out"] is False


def test_readings_stand_at_five_minutes_and_where_a_discharge_starts_and_ends() -> None:
    gateway = a_gateway()
    said = gateway.on_message(signed(a_command(event_ends_at=from_epoch(STARTS + 780))), STARTS - 120)
    said += gateway.advance(STARTS + 800)
    delay = start_delay_s("s-7f3a", "ev-1", 60)

    found = {reading.index: to_epoch(reading.at) - STARTS for reading in readings(said)}

    assert list(found) == list(range(1, max(found) + 1))
    assert [at for at in found.values() if at >= 0] == [0, delay, 300, 600, 780 - delay]


def test_receipt_frees_readings_and_nothing_else_does() -> None:
    gateway = a_gateway()
    first = readings(gateway.advance(BOOTED + 3700))
    again = readings(gateway.advance(BOOTED + 7300))
    assert again[0] == first[0]
    receipt = MeterReceipt("s-7f3a", "b" * 32, 20)

    packet = Packet("vpp/v1/0a/s-7f3a/receipt", sign(encode_receipt(receipt), CONTROLLER, "vpp-1"))
    forged = Packet("vpp/v1/0a/s-7f3a/receipt", sign(encode_receipt(receipt), STRANGER, "vpp-1"))
    gateway.on_message(forged, BOOTED + 7301)
    assert readings(gateway.advance(BOOTED + 10_900))[0].index == 1
    gateway.on_message(packet, BOOTED + 10_901)
    assert readings(gateway.advance(BOOTED + 14_500))[0].index == 21


def test_readings_of_an_earlier_boot_are_sent_until_confirmed() -> None:
    gateway = a_gateway()
    gateway.advance(BOOTED + 1000)

    said = gateway.reboot(BOOTED + 1000, boot_id="c" * 32)

    assert {reading.boot_id for reading in readings(said)} == {"b" * 32}


def test_gateway_that_is_offline_obeys_its_lease_and_keeps_its_readings() -> None:
    gateway = a_running_gateway()
    gateway.disconnect(STARTS + 130)

    assert gateway.advance(ENDS) == []
    said = gateway.connect(ENDS + 100)

    assert gateway.inverter.power_w == 0
    assert from_epoch(STARTS + 300) in {reading.at for reading in readings(said)}


def test_result_does_not_depend_on_how_often_anybody_looks() -> None:
    rarely, often = a_gateway(net_load_w=700), a_gateway(net_load_w=700)
    for gateway in (rarely, often):
        told(gateway, a_command())
    for at_s in range(STARTS, ENDS, 7):
        often.advance(at_s)
    rarely.advance(ENDS)
    often.advance(ENDS)

    assert rarely.inverter.battery == often.inverter.battery


STEPS = st.lists(
    st.tuples(
        st.integers(1, 400),
        st.sampled_from(["discharge", "release", "reserve", "island", "sun", "reboot"]),
        st.integers(0, 15_000),
        st.integers(0, 1000),
        st.integers(0, 120),
    ),
    max_size=12,
)


@settings(max_examples=80)
@given(STEPS, st.integers(5, 100))
def test_no_command_takes_a_battery_below_its_floor_nor_turns_a_counter_back(steps, soc_pct: int) -> None:
    gateway = a_gateway(soc_pct=soc_pct, net_load_w=300)
    now_s, sequence, counters = STARTS, 10, (0, 0)
    for wait_s, what, watts, permille, seconds in steps:
        for _ in range(wait_s):
            now_s += 1
            gateway.advance(now_s)
            battery, lease = gateway.inverter.battery, gateway.inverter.running_lease
            if lease is not None:
                floor = gateway.inverter.floor_permille(lease.floor_permille)
                assert battery.soc_permille >= floor - 5
            assert battery.stored_tenths >= 0
            assert counters <= (battery.discharged_ws, battery.charged_ws)
            counters = (battery.discharged_ws, battery.charged_ws)
        sequence += 1
        if what == "discharge":
            command = a_command(
                sequence=sequence,
                discharge_w=max(500, watts),
                reserve_floor_permille=permille,
                issued_at=from_epoch(now_s),
                starts_at=from_epoch(now_s + seconds),
                expires_at=from_epoch(now_s + 10 * seconds + 1),
                event_ends_at=from_epoch(now_s + 2000),
                ramp_s=seconds,
                spread_s=seconds,
            )
            told(gateway, command, now_s)
        elif what == "release":
            told(gateway, a_release(sequence, now_s), now_s)
            assert gateway.inverter.running_lease is None
        elif what == "reserve":
            gateway.owner_sets_reserve(permille, now_s)
        elif what == "island":
            gateway.grid_becomes(GridState.ISLANDED if watts % 2 else GridState.CONNECTED, now_s)
        elif what == "sun":
            gateway.inverter._house.surroundings.net_load_w_from.append((now_s, 7_500 - watts))
        else:
            gateway.reboot(now_s, boot_id=f"{now_s:032x}")

"""A simulated gateway keeps the protocol to the letter."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.battery import Battery, usable_tenths
from simulators.command_disk import FileDisk, MemoryDisk
from simulators.household import NO_EXPORT_LIMIT
from simulators.inverter import House, Inverter
from simulators.powerwall import Gateway, Identity
from vpp.domain.command import Action, start_delay_s
from vpp.domain.delivery import MeterReceipt
from vpp.domain.interval import from_epoch, to_epoch
from vpp.domain.quantities import Permille, Watts
from vpp.ports import Packet
from vpp.wire.gateway import Command, decode_ack, decode_status, encode_command
from vpp.wire.gateway_meter import decode_meter, encode_receipt
from vpp.wire.gateway_telemetry import GridState, decode_telemetry
from vpp.wire.signed import SigningKey, sign, split, verify

CONTROLLER = SigningKey(bytes(range(32)))
STRANGER = SigningKey(bytes(range(1, 33)))
HOME_KEY = SigningKey(bytes(range(2, 34)))
STARTS = to_epoch(datetime(2026, 9, 10, 1, tzinfo=UTC))
ENDS = STARTS + 7200
BOOTED = STARTS - 1800
FULL_WH = 13_305


class SteadyHouse:
    """A house whose load minus sun is the same all day, or as told from an instant on."""

    def __init__(self, net_load_w: int = 0) -> None:
        self.net_load_w_from = [(0, net_load_w)]

    def net_load_at(self, row: int, at_s: int) -> int:
        return [watts for since_s, watts in self.net_load_w_from if since_s <= at_s][-1]


def a_gateway(
    *,
    soc_pct: float = 90,
    reserve_pct: int = 20,
    net_load_w: int = 0,
    export_limit_w: int = NO_EXPORT_LIMIT,
    disk: MemoryDisk | FileDisk | None = None,
    site_id: str = "s-7f3a",
) -> Gateway:
    battery = Battery(
        FULL_WH, 5_000, 5_000, int(usable_tenths(FULL_WH, int(soc_pct * 10))), 10**10, 12 * 10**9
    )
    house = House(SteadyHouse(net_load_w), 0, 100, export_limit_w)
    inverter = Inverter(battery, house, reserve_permille=reserve_pct * 10, at_s=BOOTED)
    identity = Identity(site_id, "0a", HOME_KEY)
    keys = {"vpp-1": CONTROLLER.verifying_key}
    gateway = Gateway(identity, inverter, keys, disk or MemoryDisk(), boot_id="b" * 32)
    gateway.connect(BOOTED)
    return gateway


def a_command(**changes: object) -> Command:
    command = Command(
        site_id="s-7f3a",
        event_id="ev-1",
        epoch=1_789_002_000,
        sequence=10,
        action=Action.DISCHARGE,
        discharge_w=Watts(4_200),
        reserve_floor_permille=Permille(200),
        issued_at=from_epoch(STARTS - 120),
        starts_at=from_epoch(STARTS),
        expires_at=from_epoch(STARTS + 780),
        event_ends_at=from_epoch(ENDS),
        ramp_s=30,
        spread_s=60,
        test=False,
    )
    return replace(command, **changes)  # type: ignore[arg-type]  # the names are a command's own fields


def a_release(sequence: int, at_s: int, **changes: object) -> Command:
    at = from_epoch(at_s)
    return a_command(
        sequence=sequence,
        action=Action.RELEASE,
        discharge_w=0,
        ramp_s=0,
        spread_s=0,
        issued_at=at,
        starts_at=at,
        expires_at=from_epoch(at_s + 900),
        **changes,
    )


def signed(
    command: Command | bytes, *, key: SigningKey = CONTROLLER, kid: str = "vpp-1", retain: bool = False
) -> Packet:
    body = command if isinstance(command, bytes) else encode_command(command)
    return Packet("vpp/v1/0a/s-7f3a/command", sign(body, key, kid), retain=retain)


def acks(packets: list[Packet]) -> list[tuple[int, str | None]]:
    """Return (sequence, reason) of every acknowledgement among the packets, its signature checked."""
    found = []
    for packet in packets:
        if packet.topic.endswith("/ack"):
            message = split(packet.payload, max_bytes=4096)
            ack = decode_ack(verify(message, HOME_KEY.verifying_key), site_id="s-7f3a")
            found.append((ack.sequence, ack.refusal and ack.refusal.value))
    return found


def samples(packets: list[Packet]) -> list[dict]:
    return [json.loads(packet.payload) for packet in packets if packet.topic.endswith("/telemetry")]


def readings(packets: list[Packet]) -> list:
    found = []
    for packet in packets:
        if packet.topic.endswith("/meter"):
            body = verify(split(packet.payload, max_bytes=4096), HOME_KEY.verifying_key)
            found.extend(decode_meter(body, site_id="s-7f3a").readings)
    return found


def told(
    gateway: Gateway, command: Command | Packet, at_s: int = STARTS - 120
) -> list[tuple[int, str | None]]:
    return acks(gateway.on_message(command if isinstance(command, Packet) else signed(command), at_s))


def a_running_gateway(**changes: object) -> Gateway:
    gateway = a_gateway(**changes)  # type: ignore[arg-type]  # the names are a gateway's own
    assert told(gateway, a_command()) == [(10, None)]
    gateway.advance(STARTS + 120)
    assert gateway.inverter.power_w == 4_200
    return gateway


# What it answers.


def test_command_that_holds_every_rule_is_accepted() -> None:
    assert told(a_gateway(), a_command()) == [(10, None)]


def test_retained_command_is_dropped_in_silence() -> None:
    gateway = a_gateway()

    assert told(gateway, signed(a_command(), retain=True)) == []
    assert gateway.dropped["retained"] == 1


def test_message_that_is_not_signed_gets_no_answer() -> None:
    gateway = a_gateway()
    unsigned = Packet("vpp/v1/0a/s-7f3a/command", encode_command(a_command()))

    assert told(gateway, unsigned) == []


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"schema":"vpp.command/1"}', b"\xff", b"x" * 5_000])
def test_message_without_readable_ids_gets_no_answer(body: bytes) -> None:
    gateway = a_gateway()

    assert told(gateway, signed(body)) == []
    assert sum(gateway.dropped.values()) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("discharge_w", 499), ("action", "charge"), ("schema", "vpp.command/2"), ("spread_s", -1), ("test", 0)],
)
def test_bad_parameter_is_refused_by_name(field: str, value: object) -> None:
    body = json.loads(encode_command(a_command()))
    body[field] = value

    assert told(a_gateway(), signed(json.dumps(body).encode())) == [(10, "bad_parameter")]


def test_unknown_key_is_refused_by_name() -> None:
    assert told(a_gateway(), signed(a_command(), key=STRANGER, kid="vpp-2")) == [(10, "unknown_key")]


def test_false_signature_gets_no_answer() -> None:
    gateway = a_gateway()

    assert told(gateway, signed(a_command(), key=STRANGER)) == []
    assert gateway.dropped["bad_signature"] == 1


def test_command_of_another_home_gets_no_answer() -> None:
    gateway = a_gateway()

    assert told(gateway, a_command(site_id="s-0000")) == []
    assert gateway.dropped["wrong_site"] == 1


def test_next_controller_key_works_once_it_is_pinned() -> None:
    gateway = a_gateway()
    gateway.controller_keys["vpp-2"] = STRANGER.verifying_key

    assert told(gateway, signed(a_command(), key=STRANGER, kid="vpp-2")) == [(10, None)]


@pytest.mark.parametrize("offset_ms", [None, 30_001, -30_001])
def test_gateway_unsure_of_its_clock_refuses_to_discharge(offset_ms: int | None) -> None:
    gateway = a_gateway()
    gateway.clock_offset_ms = offset_ms

    assert told(gateway, a_command()) == [(10, "clock_unsure")]


def test_command_from_the_future_is_refused() -> None:
    ahead = a_command(issued_at=from_epoch(STARTS - 120 + 31))

    assert told(a_gateway(), ahead) == [(10, "clock_unsure")]


def test_expired_command_is_refused() -> None:
    assert told(a_gateway(), a_command(), at_s=STARTS + 780) == [(10, "expired")]


def test_lease_over_thirty_minutes_is_refused() -> None:
    long = a_command(expires_at=from_epoch(STARTS - 120 + 1801))

    assert told(a_gateway(), long) == [(10, "lease_too_long")]


def test_same_pair_again_repeats_the_earlier_answer() -> None:
    gateway = a_gateway()
    first = gateway.on_message(signed(a_command()), STARTS - 120)

    again = gateway.on_message(signed(a_command()), STARTS - 90)

    assert again[-1] == first[-1]


def test_older_pair_is_stale() -> None:
    gateway = a_gateway()
    told(gateway, a_command(sequence=11))

    assert told(gateway, a_command(sequence=10)) == [(10, "stale_sequence")]


def test_newer_epoch_outranks_any_sequence() -> None:
    gateway = a_gateway()
    told(gateway, a_command(sequence=999))

    assert told(gateway, a_command(epoch=1_789_002_001, sequence=1)) == [(1, None)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda gateway, at: gateway.owner_opts_out(True, at), "opted_out"),
        (lambda gateway, at: gateway.grid_becomes(GridState.ISLANDED, at), "islanded"),
        (lambda gateway, at: gateway.grid_becomes(GridState.SYNCING, at), "islanded"),
        (lambda gateway, at: gateway.storm_mode_becomes(True, at), "storm_mode"),
        (lambda gateway, at: gateway.owner_sets_reserve(950, at), "below_reserve"),
        (lambda gateway, at: gateway.fault_becomes("inverter", at), "faulted"),
    ],
)
def test_home_refuses_what_its_own_rules_forbid(change, reason: str) -> None:
    gateway = a_gateway()
    change(gateway, STARTS - 200)

    assert told(gateway, a_command()) == [(10, reason)]
    gateway.advance(ENDS + 60)
    assert gateway.inverter.battery.discharged_ws == 10**10


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda gateway, at: gateway.owner_opts_out(True, at), "opted_out"),
        (lambda gateway, at: gateway.grid_becomes(GridState.ISLANDED, at), "islanded"),
        (lambda gateway, at: gateway.storm_mode_becomes(True, at), "storm_mode"),
        (lambda gateway, at: gateway.owner_sets_reserve(950, at), "below_reserve"),
        (lambda gateway, at: gateway.fault_becomes("inverter", at), "faulted"),
    ],
)
def test_rule_that_becomes_true_stops_a_running_command_at_once_for_good(change, reason: str) -> None:
    gateway = a_running_gateway()

    said = change(gateway, STARTS + 125)

    assert gateway.inverter.power_w <= 0
    assert len(samples(said)) >= 1
    assert readings(said), "the end of a discharge is measured and sent at once"
    discharged_ws = gateway.inverter.battery.discharged_ws
    gateway.owner_opts_out(False, STARTS + 300)
    gateway.grid_becomes(GridState.CONNECTED, STARTS + 300)
    gateway.storm_mode_becomes(False, STARTS + 300)
    gateway.owner_sets_reserve(200, STARTS + 300)
    gateway.fault_becomes(None, STARTS + 300)
    gateway.advance(STARTS + 780)
    assert gateway.inverter.battery.discharged_ws == discharged_ws


def test_home_that_may_not_export_refuses_when_sun_covers_its_load() -> None:
    gateway = a_gateway(export_limit_w=0, net_load_w=-500, soc_pct=90)

    assert told(gateway, a_command()) == [(10, "export_not_permitted")]


def test_home_that_may_not_export_discharges_no_more_than_its_load() -> None:
    gateway = a_gateway(export_limit_w=0, net_load_w=1_100)
    told(gateway, a_command())

    gateway.advance(STARTS + 120)

    assert gateway.inverter.power_w == 1_000


def test_battery_that_just_turned_from_charging_refuses_and_keeps_the_command_in_force() -> None:
    gateway = a_gateway(net_load_w=-1_000)
    gateway.advance(STARTS - 120)
    assert gateway.inverter.power_w == -1_000
    told(gateway, a_command(discharge_w=3_000, spread_s=0))
    turned = gateway.advance(STARTS + 40)
    assert turned

    assert told(gateway, a_command(sequence=11), STARTS + 41) == [(11, "dwell")]
    gateway.advance(STARTS + 60)
    assert gateway.inverter.power_w == 3_000


def test_refusal_order_is_that_of_the_protocol() -> None:
    gateway = a_gateway(soc_pct=15)
    gateway.fault_becomes("inverter", STARTS - 400)
    gateway.storm_mode_becomes(True, STARTS - 400)
    gateway.grid_becomes(GridState.ISLANDED, STARTS - 400)
    gateway.owner_opts_out(True, STARTS - 400)
    found = [told(gateway, a_command(sequence=10), at_s=STARTS + 780)[0][1]]
    for sequence, heal in (
        (11, lambda: None),
        (12, lambda: gateway.owner_opts_out(False, STARTS + 781)),
        (13, lambda: gateway.grid_becomes(GridState.CONNECTED, STARTS + 781)),
        (14, lambda: gateway.storm_mode_becomes(False, STARTS + 781)),
        (15, lambda: gateway.owner_sets_reserve(100, STARTS + 781)),
    ):
        heal()
        fresh = a_command(
            sequence=sequence,
            issued_at=from_epoch(STARTS + 781),
            expires_at=from_epoch(STARTS + 1600),
            reserve_floor_permille=Permille(160 if sequence < 15 else 100),
        )
        found.append(told(gateway, fresh, STARTS + 782)[0][1])

    assert found == [
        "expired", "opted_out", "islanded", "storm_mode", "below_reserve", "faulted",
    ]  # fmt: skip


# Release.


def test_release_ends_a_discharge_at_once() -> None:
    gateway = a_running_gateway()

    said = gateway.on_message(signed(a_release(11, STARTS + 130)), STARTS + 130)

    assert acks(said) == [(11, None)]
    assert gateway.inverter.power_w == 0
    assert readings(said)[-1].at == from_epoch(STARTS + 130)


@pytest.mark.parametrize(
    "trouble",
    [
        lambda gateway: gateway.owner_opts_out(True, STARTS + 125),
        lambda gateway: gateway.grid_becomes(GridState.ISLANDED, STARTS + 125),
        lambda gateway: gateway.fault_becomes("inverter", STARTS + 125),
        lambda gateway: setattr(gateway, "clock_offset_ms", None),
        lambda gateway: gateway.storm_mode_becomes(True, STARTS + 125),
    ],
)
def test_release_is_taken_whatever_the_home_and_its_clock_say(trouble) -> None:
    gateway = a_running_gateway()
    trouble(gateway)
    late = a_release(11, STARTS - 5_000)

    assert told(gateway, late, STARTS + 130) == [(11, None)]
    assert gateway.inverter.power_w <= 0


def test_stale_release_is_refused() -> None:
    gateway = a_running_gateway()

    assert told(gateway, a_release(9, STARTS + 130), STARTS + 130) == [(9, "stale_sequence")]
    assert gateway.inverter.power_w == 4_200


def test_release_of_a_waiting_home_keeps_it_at_rest() -> None:
    gateway = a_gateway()
    told(gateway, a_command())
    told(gateway, a_release(11, STARTS - 60), STARTS - 60)

    gateway.advance(STARTS + 600)

    assert gateway.inverter.battery.discharged_ws == 10**10


# Time.


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


# Power cuts.


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


def test_stale_pair_is_remembered_on_a_file(tmp_path) -> None:
    gateway = a_running_gateway(disk=FileDisk(tmp_path / "home.json"))

    gateway.reboot(STARTS + 200, boot_id="c" * 32)

    assert told(gateway, a_command(sequence=9), STARTS + 201) == [(9, "stale_sequence")]
    gateway.advance(STARTS + 260)
    assert gateway.inverter.power_w == 4_200


# What it reports.


def test_presence_is_retained_and_its_will_says_offline() -> None:
    gateway = a_gateway()
    status = next(packet for packet in gateway.connect(BOOTED + 5) if packet.topic.endswith("/status"))

    assert status.retain
    assert decode_status(status.payload, site_id="s-7f3a").online is not None
    assert gateway.will.retain
    assert decode_status(gateway.will.payload, site_id="s-7f3a").online is None


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


def test_opt_out_at_home_ends_with_the_event_it_bound() -> None:
    gateway = a_running_gateway()
    gateway.owner_opts_out(True, STARTS + 300)

    said = samples(gateway.advance(ENDS + 1))

    assert said[-1]["opted_out"] is False
    assert [sample["opted_out"] for sample in said[:-1]] == [True] * (len(said) - 1)


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


# Laws.

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


@settings(max_examples=80, deadline=None)
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

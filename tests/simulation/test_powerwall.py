"""A simulated gateway refuses in the protocol's order, and releases whatever happens."""

import json

import pytest

from tests.simulation.gateways import (
    CONTROLLER,
    ENDS,
    HOME_KEY,
    STARTS,
    STRANGER,
    a_command,
    a_gateway,
    a_release,
    a_running_gateway,
    acks,
    readings,
    samples,
    signed,
    told,
)
from vpp.domain.delivery import MeterReceipt
from vpp.domain.interval import from_epoch
from vpp.domain.quantities import Permille
from vpp.ports import Packet
from vpp.wire.gateway import encode_command
from vpp.wire.gateway_meter import encode_receipt
from vpp.wire.gateway_telemetry import GridState
from vpp.wire.signed import sign, split, verify


def test_command_that_holds_every_rule_is_accepted() -> None:
    assert told(a_gateway(), a_command()) == [(10, None)]


def test_retained_command_is_dropped_in_silence() -> None:
    gateway = a_gateway()

    assert told(gateway, signed(a_command(), retain=True)) == []
    assert gateway.dropped["command retained"] == 1


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


@pytest.mark.parametrize("name", ["ramp_s", "spread_s"])
def test_what_lets_power_flow_past_a_lease_is_an_hour_at_most(name: str) -> None:
    assert told(a_gateway(), a_command(**{name: 3600})) == [(10, None)]
    assert told(a_gateway(), a_command(**{name: 3601})) == [(10, "bad_parameter")]


@pytest.mark.parametrize("name", ["epoch", "sequence"])
def test_number_of_zero_is_refused_by_name(name: str) -> None:
    body = {**json.loads(encode_command(a_command())), name: 0}

    said = a_gateway().on_message(signed(json.dumps(body).encode()), STARTS - 120)[-1]

    ack = json.loads(verify(split(said.payload, max_bytes=4096), HOME_KEY.verifying_key))
    assert (ack["state"], ack["reason"], ack[name]) == ("rejected", "bad_parameter", 0)


def test_fields_that_nobody_knows_are_ignored_and_counted() -> None:
    gateway = a_gateway()
    command = {**json.loads(encode_command(a_command())), "tariff": "a", "hint": {"soc_pct": 1}}
    receipt = {**json.loads(encode_receipt(MeterReceipt("s-7f3a", "b" * 32, 0))), "praise": True}
    confirmed = sign(json.dumps(receipt).encode(), CONTROLLER, "vpp-1")

    assert told(gateway, signed(json.dumps(command).encode())) == [(10, None)]
    gateway.on_message(Packet("vpp/v1/0a/s-7f3a/receipt", confirmed), STARTS - 100)

    assert gateway.unknown_fields == {"command": 2, "receipt": 1}
    assert not gateway.dropped


def test_unknown_key_is_refused_by_name() -> None:
    assert told(a_gateway(), signed(a_command(), key=STRANGER, kid="vpp-2")) == [(10, "unknown_key")]


def test_false_signature_gets_no_answer() -> None:
    gateway = a_gateway()

    assert told(gateway, signed(a_command(), key=STRANGER)) == []
    assert gateway.dropped["command bad_signature"] == 1


def test_command_of_another_home_gets_no_answer() -> None:
    gateway = a_gateway()

    assert told(gateway, a_command(site_id="s-0000")) == []
    assert gateway.dropped["command wrong_site"] == 1


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

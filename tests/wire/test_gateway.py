"""What travels between controller and gateway, as written and as refused."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp.domain.command import Action, CommandBatch, Order, Refusal, start_delay_s
from vpp.domain.delivery import MeterMessage, MeterReading, MeterReceipt, Quality
from vpp.domain.interval import from_epoch
from vpp.domain.quantities import Permille, WattHours, Watts, column
from vpp.wire.gateway import (
    Ack,
    Command,
    GatewayKind,
    GatewayTopic,
    GridKind,
    GridTopic,
    Online,
    Status,
    UnknownTopic,
    WrongSite,
    command_body,
    command_key,
    controller_filters,
    decode_ack,
    decode_command,
    decode_status,
    encode_ack,
    encode_command,
    encode_status,
    parse_topic,
    require_boot_id,
    topic,
)
from vpp.wire.gateway_meter import decode_meter, decode_receipt, encode_meter, encode_receipt
from vpp.wire.gateway_telemetry import (
    GridState,
    Telemetry,
    decode_telemetry,
    decode_telemetry_row,
    encode_telemetry,
)
from vpp.wire.strict_json import MalformedMessage

BEFORE = datetime(2026, 9, 10, 0, 58, tzinfo=UTC)
START = datetime(2026, 9, 10, 1, 0, tzinfo=UTC)
END = datetime(2026, 9, 10, 4, 0, tzinfo=UTC)
BOOT = "b91c5e7702d144f8b91c5e7702d144f8"

DISCHARGE = Command(
    site_id="s-7f3a",
    event_id="ev-2026-09-09-1",
    epoch=1789002000,
    sequence=120045,
    action=Action.DISCHARGE,
    discharge_w=Watts(4200),
    reserve_floor_permille=Permille(200),
    issued_at=BEFORE,
    starts_at=START,
    expires_at=START + timedelta(minutes=13),
    event_ends_at=END,
    ramp_s=30,
    spread_s=60,
    test=False,
)
ACCEPTED = Ack("s-7f3a", "ev-2026-09-09-1", 1789002000, 120045, None, BEFORE + timedelta(seconds=1))
SAMPLE = Telemetry(
    site_id="s-7f3a",
    at=datetime(2026, 9, 10, 1, 5, 30, tzinfo=UTC),
    epoch=1789002000,
    sequence=120045,
    soc_permille=Permille(799),
    battery_w=Watts(4190),
    discharge_limit_w=Watts(5000),
    energy_full_wh=WattHours(13305),
    reserve_permille=Permille(200),
    discharged_wh=WattHours(12319921),
    charged_wh=WattHours(13853641),
    grid=GridState.CONNECTED,
    storm_mode=False,
    opted_out=False,
    fault=None,
)
READING = MeterReading(
    site_id="s-7f3a",
    boot_id=BOOT,
    index=1042,
    at=datetime(2026, 9, 10, 1, 5, tzinfo=UTC),
    discharged_wh=WattHours(12319890),
    charged_wh=WattHours(13853641),
    soc_permille=Permille(802),
    quality=Quality.OK,
)
READINGS = MeterMessage("s-7f3a", BOOT, 1030, (READING,))


def changed(payload: bytes, **fields: object) -> bytes:
    """Return the body with some fields replaced; a value of ``...`` takes the field away."""
    body: dict[str, Any] = json.loads(payload) | fields
    return json.dumps({name: value for name, value in body.items() if value is not ...}).encode()


def test_command_is_written_as_the_protocol_prints_it() -> None:
    printed = (
        b'{"schema":"vpp.command/1","site_id":"s-7f3a","event_id":"ev-2026-09-09-1","epoch":1789002000,'
        b'"sequence":120045,"action":"discharge","discharge_w":4200,"reserve_floor_pct":20.0,'
        b'"issued_at":"2026-09-10T00:58:00Z","starts_at":"2026-09-10T01:00:00Z",'
        b'"expires_at":"2026-09-10T01:13:00Z","event_ends_at":"2026-09-10T04:00:00Z",'
        b'"ramp_s":30,"spread_s":60,"test":false}'
    )

    assert encode_command(DISCHARGE) == printed
    assert decode_command(printed, site_id="s-7f3a") == DISCHARGE


def test_the_other_bodies_are_written_as_the_protocol_prints_them() -> None:
    assert encode_ack(ACCEPTED) == (
        b'{"schema":"vpp.ack/1","site_id":"s-7f3a","event_id":"ev-2026-09-09-1","epoch":1789002000,'
        b'"sequence":120045,"state":"accepted","reason":null,"at":"2026-09-10T00:58:01Z"}'
    )
    assert encode_telemetry(SAMPLE) == (
        b'{"schema":"vpp.telemetry/1","site_id":"s-7f3a","at":"2026-09-10T01:05:30Z","epoch":1789002000,'
        b'"sequence":120045,"soc_pct":79.9,"battery_w":4190,"discharge_limit_w":5000,"energy_full_wh":13305,'
        b'"reserve_pct":20.0,"discharged_wh":12319921,"charged_wh":13853641,"grid":"connected",'
        b'"storm_mode":false,"opted_out":false,"fault":null}'
    )
    assert encode_meter(READINGS) == (
        b'{"schema":"vpp.meter/1","site_id":"s-7f3a","boot_id":"b91c5e7702d144f8b91c5e7702d144f8",'
        b'"oldest_index":1030,"readings":[{"index":1042,"at":"2026-09-10T01:05:00Z","discharged_wh":12319890,'
        b'"charged_wh":13853641,"soc_pct":80.2,"quality":"ok"}]}'
    )
    assert encode_receipt(MeterReceipt("s-7f3a", BOOT, 1042)) == (
        b'{"schema":"vpp.receipt/1","site_id":"s-7f3a","boot_id":"b91c5e7702d144f8b91c5e7702d144f8",'
        b'"stored_through":1042}'
    )
    assert encode_status(Status("s-7f3a", None)) == (
        b'{"schema":"vpp.status/1","site_id":"s-7f3a","state":"offline"}'
    )


def test_a_release_carries_no_power_no_ramp_and_no_spread() -> None:
    order = Order(
        event_id="ev-1",
        revision=3,
        action=Action.RELEASE,
        site_no=column([7]),
        starts_at=START,
        expires_at=START + timedelta(minutes=15),
        event_ends_at=END,
        ramp_s=30,
        spread_s=60,
        test=False,
    )
    batch = CommandBatch(1789002000, 9, START, order, column([0]), column([200]))

    release = decode_command(command_body(batch, 0, "s-7f3a"), site_id="s-7f3a")

    assert (release.discharge_w, release.ramp_s, release.spread_s) == (0, 0, 0)
    assert release.action is Action.RELEASE
    assert release.reserve_floor_permille == 200


def test_every_message_reads_back_as_it_was_written() -> None:
    rejected = replace(ACCEPTED, refusal=Refusal.STORM_MODE)
    at_site_meter = replace(READING, imported_wh=WattHours(5), exported_wh=WattHours(0))
    here = Online(START, BOOT, 0, 0, "24.12.1", -12)

    assert decode_ack(encode_ack(rejected), site_id="s-7f3a") == rejected
    assert decode_telemetry(encode_telemetry(SAMPLE), site_id="s-7f3a") == SAMPLE
    assert decode_status(encode_status(Status("s-7f3a", here)), site_id="s-7f3a").online == here
    assert decode_status(encode_status(Status("s-7f3a", None)), site_id="s-7f3a").online is None
    for readings in (READINGS, replace(READINGS, readings=(READING, replace(at_site_meter, index=1043)))):
        assert decode_meter(encode_meter(readings), site_id="s-7f3a") == readings
    receipt = MeterReceipt("s-7f3a", BOOT, 0)
    assert decode_receipt(encode_receipt(receipt), site_id="s-7f3a") == receipt


def test_a_message_that_names_another_site_than_its_topic_is_refused() -> None:
    with pytest.raises(WrongSite):
        decode_telemetry_row(encode_telemetry(SAMPLE), site_id="s-other")
    with pytest.raises(WrongSite):
        decode_command(encode_command(DISCHARGE), site_id="s-other")


@pytest.mark.parametrize(
    "fields",
    [
        {"schema": "vpp.telemetry/2"},
        {"schema": ...},
        {"at": "2026-09-10T01:05:30+00:00"},
        {"at": "2026-09-10T01:05:30.5Z"},
        {"at": "2026-02-30T01:05:30Z"},
        {"at": 1789002000},
        {"soc_pct": 100.1},
        {"soc_pct": -0.1},
        {"soc_pct": 79.95},
        {"soc_pct": "79.9"},
        {"soc_pct": True},
        {"soc_pct": float("nan")},
        {"soc_pct": float("inf")},
        {"battery_w": 4190.0},
        {"battery_w": 10**7},
        {"discharge_limit_w": -1},
        {"energy_full_wh": 0},
        {"energy_full_wh": 13_305_000_000},
        {"discharged_wh": -1},
        {"discharged_wh": 2**53},
        {"epoch": None},
        {"sequence": "1"},
        {"sequence": ...},
        {"grid": "off"},
        {"grid": None},
        {"storm_mode": 0},
        {"opted_out": "false"},
        {"fault": 7},
        {"padding": "x" * 4096},
        {"deep": [[[[[[[[1]]]]]]]]},
    ],
)
def test_telemetry_with_an_unusable_field_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(MalformedMessage):
        decode_telemetry_row(changed(encode_telemetry(SAMPLE), **fields), site_id="s-7f3a")


@pytest.mark.parametrize(("fault", "faulted"), [("", 0), ("x" * 2000, 1), ("Zündung", 1), (None, 0)])
def test_however_a_fault_is_worded_the_sample_is_taken(fault: str | None, faulted: int) -> None:
    row = decode_telemetry_row(
        changed(encode_telemetry(SAMPLE), fault=fault, opted_out=True), site_id="s-7f3a"
    )

    assert row[-2:] == (1, faulted)


@given(
    soc=st.integers(0, 1000),
    battery=st.integers(-999_999, 999_999),
    counter=st.integers(0, 2**53 - 1),
    sequence=st.integers(0, 2**53 - 1),
    at_s=st.integers(0, 4_000_000_000),
    full=st.integers(1, 10_000_000),
    grid=st.sampled_from(GridState),
    flags=st.tuples(st.booleans(), st.booleans()),
    fault=st.none() | st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()),
)
def test_the_quick_reader_of_telemetry_says_what_the_strict_one_says(
    soc: int,
    battery: int,
    counter: int,
    sequence: int,
    at_s: int,
    full: int,
    grid: GridState,
    flags: tuple[bool, bool],
    fault: str | None,
) -> None:
    sample = replace(
        SAMPLE,
        at=from_epoch(at_s),
        sequence=sequence,
        soc_permille=Permille(soc),
        reserve_permille=Permille(1000 - soc),
        battery_w=Watts(battery),
        energy_full_wh=WattHours(full),
        discharged_wh=WattHours(counter),
        grid=grid,
        storm_mode=flags[0],
        opted_out=flags[1],
        fault=fault,
    )
    usual = encode_telemetry(sample)
    spaced = json.dumps(json.loads(usual)).encode()  # never takes the quick way

    assert decode_telemetry_row(usual, site_id="s-7f3a") == decode_telemetry_row(spaced, site_id="s-7f3a")
    assert decode_telemetry(usual, site_id="s-7f3a") == sample


@given(st.sampled_from(range(len(encode_telemetry(SAMPLE)))), st.integers(0, 255))
def test_a_damaged_byte_of_telemetry_is_refused_or_read_the_same_both_ways(where: int, byte: int) -> None:
    damaged = bytearray(encode_telemetry(SAMPLE))
    damaged[where] = byte

    def outcome(payload: bytes) -> object:
        try:
            return decode_telemetry_row(payload, site_id="s-7f3a")
        except MalformedMessage:
            return "refused"

    assert outcome(bytes(damaged)) == outcome(b" " + bytes(damaged))


@pytest.mark.parametrize(
    "fields",
    [
        {"discharge_w": 499},
        {"discharge_w": 4200.5},
        {"action": "charge"},
        {"action": ...},
        {"epoch": 0},
        {"sequence": -1},
        {"reserve_floor_pct": 101},
        {"ramp_s": -1},
        {"test": 0},
        {"event_id": ""},
        {"event_id": "x" * 129},
        {"issued_at": "2026-09-10"},
    ],
)
def test_command_with_an_unusable_field_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(MalformedMessage):
        decode_command(changed(encode_command(DISCHARGE), **fields), site_id="s-7f3a")


def test_a_gateway_can_refuse_by_name_what_it_could_not_use_but_could_read() -> None:
    unusable = changed(encode_command(DISCHARGE), discharge_w=-5)

    assert command_key(unusable) == ("ev-2026-09-09-1", 1789002000, 120045)
    assert command_key(changed(encode_command(DISCHARGE), sequence="x")) is None
    assert command_key(b"\xff") is None
    assert command_key(changed(encode_command(DISCHARGE), sequence=0)) == ("ev-2026-09-09-1", 1789002000, 0)


@pytest.mark.parametrize(
    ("state", "reason"),
    [("accepted", "storm_mode"), ("rejected", None), ("rejected", "bad_mood"), ("late", None)],
)
def test_an_acknowledgement_whose_state_and_reason_disagree_is_refused(state: str, reason: object) -> None:
    with pytest.raises(MalformedMessage):
        decode_ack(changed(encode_ack(ACCEPTED), state=state, reason=reason), site_id="s-7f3a")


def reading(**fields: object) -> dict[str, object]:
    """Return one reading as JSON with some fields replaced."""
    one: dict[str, object] = json.loads(encode_meter(READINGS))["readings"][0]
    return one | fields


@pytest.mark.parametrize(
    "fields",
    [
        {"boot_id": "B91C"},
        {"boot_id": 7},
        {"oldest_index": 0},
        {"oldest_index": 1043},  # newer than the reading it comes with
        {"readings": []},
        {"readings": [reading(index=1042 + step) for step in range(13)]},
        {"readings": [reading(quality="good")]},
        {"readings": [reading(quality=["ok"])]},
        {"readings": [reading(discharged_wh=1.5)]},
        {"readings": [reading(imported_wh=5)]},  # one site counter without the other
        {"readings": ["1042"]},
    ],
)
def test_meter_readings_that_are_not_well_formed_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(MalformedMessage):
        decode_meter(changed(encode_meter(READINGS), **fields), site_id="s-7f3a")


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z"])
def test_reading_of_a_time_that_no_meter_can_mean_is_kept_at_the_edge_of_time(at: str) -> None:
    message = decode_meter(changed(encode_meter(READINGS), readings=[reading(at=at)]), site_id="s-7f3a")

    assert 1970 <= message.readings[0].at.year < 2500, "it is judged, and covered by a receipt"


def test_negative_counter_of_any_meter_is_well_formed_so_that_it_can_be_judged() -> None:
    below = reading(discharged_wh=-1, charged_wh=-2, imported_wh=-3, exported_wh=-4)

    (read,) = decode_meter(changed(encode_meter(READINGS), readings=[below]), site_id="s-7f3a").readings

    assert (read.discharged_wh, read.charged_wh, read.imported_wh, read.exported_wh) == (-1, -2, -3, -4)


def test_unknown_fields_are_ignored_and_counted_without_their_names() -> None:
    unknown: Counter[str] = Counter()

    sample = decode_telemetry(
        changed(encode_telemetry(SAMPLE), solar_w=1, load_w=2), site_id="s-7f3a", unknown=unknown
    )
    decode_meter(
        changed(encode_meter(READINGS), readings=[reading(phase="L1")]), site_id="s-7f3a", unknown=unknown
    )

    assert sample == SAMPLE
    assert unknown == {"telemetry": 2, "meter": 1}


def test_topics_are_built_and_parsed_by_one_pair() -> None:
    for name in (
        GatewayTopic("0a", "s-7f3a", GatewayKind.METER),
        GridTopic("caiso", GridKind.EVENT),
    ):
        assert parse_topic(topic(name)) == name
    assert topic(GatewayTopic("0a", "s-7f3a", GatewayKind.ACK)) == "vpp/v1/0a/s-7f3a/ack"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vpp/v1/0a/s-7f3a",
        "vpp/v1/0a/s-7f3a/ack/more",
        "vpp/v2/0a/s-7f3a/ack",
        "vpp/v1/0A/s-7f3a/ack",
        "vpp/v1/0a/S-7F3A/ack",
        "vpp/v1/0a//ack",
        "vpp/v1/0a/s-7f3a/gossip",
        "grid/v1/caiso/command",
        "grid/v1/ca iso/event",
    ],
)
def test_a_foreign_topic_is_refused(text: str) -> None:
    with pytest.raises(UnknownTopic):
        parse_topic(text)


def test_the_controller_listens_to_gateways_and_grid_operators_and_not_to_itself() -> None:
    assert controller_filters() == (
        "vpp/v1/+/+/ack",
        "vpp/v1/+/+/telemetry",
        "vpp/v1/+/+/meter",
        "vpp/v1/+/+/status",
        "grid/v1/+/event",
    )


def test_starts_of_a_fleet_are_spread_over_the_whole_span() -> None:
    delays = [start_delay_s(f"s-{home}", "ev-1", 60) for home in range(2000)]

    assert set(delays) == set(range(60))
    assert start_delay_s("s-7f3a", "ev-1", 0) == 0
    assert start_delay_s("s-7f3a", "ev-2026-09-09-1", 2**32) == 1341111213


@pytest.mark.parametrize(
    "boot_id", ["B91C5E7702D144F8B91C5E7702D144F8", "b91c5e77-02d1-44f8-b91c-5e7702d144f8"]
)
def test_a_boot_id_may_be_written_in_any_way_that_holds_128_bits(boot_id: str) -> None:
    assert require_boot_id({"boot_id": boot_id}) == boot_id

"""Grid signals as OpenADR 3.1 writes them: what is read out of them and what is malformed."""

import copy
import hashlib
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.openadr_world import EVENING, NOTIFICATION, changed, malformed, signal, with_payloads
from vpp.domain.grid_event import Operation, Receipt, ReceiptState, Signal, SignalStep
from vpp.domain.quantities import Watts
from vpp.ports import Malformed
from vpp.wire.openadr import (
    Ask,
    decode_notification,
    decode_receipt,
    encode_notification,
    encode_receipt,
    refuse_notification,
)
from vpp.wire.strict_json import MalformedMessage, parse


def test_emergency_signal_asks_for_its_setpoint_from_start_to_end() -> None:
    read = signal(NOTIFICATION)

    assert read == Signal(
        source="caiso",
        event_id="ev-2026-09-09-1",
        operation=Operation.CREATE,
        modified_at=datetime(2026, 9, 9, 0, 5, tzinfo=UTC),
        content_sha256=read.content_sha256,
        program_id="elrp-a4-pge",
        name="EEA 2 CAISO Grid",
        priority=0,
        targets=("pge", "a4"),
        steps=(SignalStep(0, EVENING, 3 * 3_600, Watts(5_000_000)),),
        cancels=False,
    )


@pytest.mark.parametrize(
    ("payloads", "power"),
    [
        ([("SIMPLE", 0), ("CONTROL_SETPOINT", -5)], 0),
        ([("SIMPLE", 1), ("CONTROL_SETPOINT", -5), ("ALERT_GRID_EMERGENCY", "EEA Watch")], 0),
        ([("SIMPLE", 2), ("CONTROL_SETPOINT", -5)], 5_000),
        ([("SIMPLE", 3), ("CONTROL_SETPOINT", 0)], 0),
        ([("SIMPLE", 2)], None),
        ([("SIMPLE", 3), ("ALERT_FLEX_ALERT", "conserve")], None),
        ([("ALERT_GRID_EMERGENCY", "EEA 2")], None),
        ([("ALERT_GRID_EMERGENCY", "EEA 2"), ("CONTROL_SETPOINT", -0.15)], 150),
        ([("ALERT_FLEX_ALERT", "conserve")], 0),
        ([("ALERT_FLEX_ALERT", "conserve"), ("CONTROL_SETPOINT", -5)], 0),
        ([("ALERT_OTHER", "transmission emergency")], 0),
        ([("SIMPLE", 3), ("CONTROL_SETPOINT", -23800.001)], 23_800_001),
        ([("SIMPLE", 3), ("CONTROL_SETPOINT", -4999.9999999999)], 5_000_000),
        ([("SIMPLE", 3), ("PRICE", 2.0), ("X-PRIVATE", "anything")], None),
    ],
)
def test_simple_decides_where_present_and_the_setpoint_says_how_much(
    payloads: list[tuple[str, object]], power: int | None
) -> None:
    (step,) = signal(with_payloads(*payloads)).steps

    assert step.power == power


@pytest.mark.parametrize(
    ("payloads", "reason"),
    [
        ([("SIMPLE", 4)], "SIMPLE is not one integer from 0 to 3"),
        ([("SIMPLE", -1)], "SIMPLE is not one integer from 0 to 3"),
        ([("SIMPLE", True)], "SIMPLE is not one integer from 0 to 3"),
        ([("SIMPLE", 3.0)], "SIMPLE is not one integer from 0 to 3"),
        ([("SIMPLE", "3")], "SIMPLE is not one integer from 0 to 3"),
        ([("SIMPLE", 3), ("SIMPLE", 0)], "an interval has two payloads of one type"),
        ([("ALERT_GRID_EMERGENCY", "")], "an alert is not one text of 1 to 128 characters"),
        ([("ALERT_GRID_EMERGENCY", "x" * 129)], "an alert is not one text of 1 to 128 characters"),
        ([("ALERT_GRID_EMERGENCY", 2)], "an alert is not one text of 1 to 128 characters"),
        ([("SIMPLE", 3), ("CONTROL_SETPOINT", 0.1)], "CONTROL_SETPOINT is above 0"),
        ([("SIMPLE", 1), ("CONTROL_SETPOINT", 5)], "CONTROL_SETPOINT is above 0"),
        ([("SIMPLE", 3), ("CONTROL_SETPOINT", "-5")], "CONTROL_SETPOINT is not one number"),
        ([("SIMPLE", 3), ("CONTROL_SETPOINT", False)], "CONTROL_SETPOINT is not one number"),
        ([("SIMPLE", 3), ("CONTROL_SETPOINT", -1e12)], "CONTROL_SETPOINT is below"),
        ([("SIMPLE", 3), ("DISPATCH_SETPOINT", 5)], "a setpoint has no units in payloadDescriptors"),
        ([("CONTROL_SETPOINT", -5)], "an interval has neither SIMPLE nor an alert"),
        ([("PRICE", 2)], "an interval has neither SIMPLE nor an alert"),
        ([], "payloads is not a list of 1 to 128"),
    ],
)
def test_payload_outside_its_rules_is_malformed(payloads: list[tuple[str, object]], reason: str) -> None:
    refused = malformed(with_payloads(*payloads))

    assert refused.reason.startswith(reason)
    assert (refused.event_id, refused.operation) == ("ev-2026-09-09-1", "CREATE")
    assert refused.modified_at == datetime(2026, 9, 9, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize("units", [None, "KWH", "W", "kW"])
def test_setpoint_without_kilowatts_is_malformed(units: str | None) -> None:
    assert "units" in malformed(with_payloads(("SIMPLE", 3), ("CONTROL_SETPOINT", -5), units=units)).reason


def test_descriptor_without_its_object_type_is_taken() -> None:
    notification = copy.deepcopy(NOTIFICATION)
    del notification["object"]["payloadDescriptors"][0]["objectType"]

    assert signal(notification).steps[0].power == 5_000_000


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"id": None}, "id is not"),
        ({"id": "ev 1"}, "id is not"),
        ({"id": "x" * 129}, "id is not"),
        ({"programID": None}, "programID is not"),
        ({"createdDateTime": None}, "createdDateTime is not an RFC 3339 time"),
        ({"modificationDateTime": None}, "modificationDateTime is not an RFC 3339 time"),
        ({"modificationDateTime": "2026-09-09"}, "modificationDateTime is not an RFC 3339 time"),
        ({"modificationDateTime": "2026-09-09T00:05:00"}, "modificationDateTime is not an RFC 3339 time"),
        ({"objectType": None}, "objectType of the object"),
        ({"objectType": "PROGRAM"}, "objectType of the object"),
        ({"priority": -1}, "priority is not an integer"),
        ({"priority": 1.5}, "priority is not an integer"),
        ({"targets": "pge"}, "targets is not a list"),
        ({"targets": ["pge", 4]}, "targets are not texts"),
        ({"targets": [""]}, "targets are not texts"),
        ({"eventName": 4}, "eventName is not a text"),
        ({"intervals": None}, "intervals is not a list"),
        ({"intervals": []}, "intervals is not a list"),
        ({"intervals": [4]}, "an interval is not an object"),
        ({"intervals": [{"payloads": [{"type": "SIMPLE", "values": [3]}]}]}, "id is not an integer"),
        ({"intervals": [{"id": 2**31, "payloads": []}]}, "id is not an integer"),
        ({"intervals": [{"id": 0}]}, "payloads is not a list"),
        ({"intervals": [{"id": 0, "payloads": [4]}]}, "a payload is not an object"),
        ({"intervals": [{"id": 0, "payloads": [{"type": "SIMPLE"}]}]}, "values of a payload"),
        ({"intervals": [{"id": 0, "payloads": [{"values": [3]}]}]}, "type is not a text"),
        ({"payloadDescriptors": [4]}, "a payloadDescriptor is not an object"),
        ({"payloadDescriptors": [{"objectType": "X", "payloadType": "SIMPLE"}]}, "objectType of a payload"),
        ({"intervalPeriod": None}, "neither the event nor the interval has an intervalPeriod"),
        ({"intervalPeriod": "PT1H"}, "intervalPeriod is not an object"),
        ({"intervalPeriod": {"duration": "PT1H"}}, "start is not an RFC 3339 time"),
        ({"intervalPeriod": {"start": "2026-09-10T01:00:00Z"}}, "duration is not an ISO 8601 duration"),
        ({"intervalPeriod": {"start": "tomorrow", "duration": "PT1H"}}, "start is not an RFC 3339 time"),
        ({"intervalPeriod": {"start": "0001-01-02T00:00:00Z", "duration": "PT1H"}}, "start lies outside"),
        ({"intervalPeriod": {"start": "9999-12-31T23:59:59Z", "duration": "PT1H"}}, "start lies outside"),
        ({"intervalPeriod": {"start": "0001-01-01T00:00:00+01:00", "duration": "PT1H"}}, "start is not"),
        ({"duration": "PT6H"}, "the event's duration would repeat its intervals"),
        ({"duration": "P9999Y"}, "the event's duration would repeat its intervals"),
        ({"duration": "soon"}, "duration is not an ISO 8601 duration"),
    ],
)
def test_object_that_breaks_the_checklist_is_malformed(members: dict[str, object], reason: str) -> None:
    assert malformed(changed(**members)).reason.startswith(reason)


@pytest.mark.parametrize(
    ("envelope", "reason"),
    [
        ({"objectType": "PROGRAM"}, "objectType of the notification"),
        ({"objectType": 1}, "objectType of the notification"),
        ({"operation": "READ"}, "operation is not CREATE"),
        ({"operation": None}, "operation is not a text"),
        ({"object": None}, "object is not an object"),
        ({"object": []}, "object is not an object"),
    ],
)
def test_envelope_of_another_kind_is_malformed(envelope: dict[str, object], reason: str) -> None:
    assert malformed(NOTIFICATION | envelope).reason.startswith(reason)


@pytest.mark.parametrize(
    "members",
    [
        {"intervalPeriod": {"start": "0001-01-01", "duration": "PT0S"}},
        {"intervalPeriod": {"start": "2026-09-10T01:00:00Z", "duration": "P0D"}, "intervals": []},
        {"intervalPeriod": {"start": "0001-01-01", "duration": "PT0S"}, "intervals": None},
        {"duration": "PT0S"},
        {
            "intervalPeriod": {"start": "0001-01-01T00:00:00Z", "duration": "PT0S"},
            "intervals": [
                {
                    "id": 0,
                    "intervalPeriod": {"start": "2026-09-10T01:00:00Z", "duration": "PT1H"},
                    "payloads": [{"type": "SIMPLE", "values": [3]}],
                }
            ],
        },
    ],
)
def test_explicit_duration_of_nothing_cancels(members: dict[str, object]) -> None:
    read = signal(changed(**members))

    assert (read.cancels, read.steps) == (True, ())


def test_fields_of_no_standard_are_counted_and_ignored() -> None:
    odd = changed(colour="red") | {"operation": "UPDATE", "mood": 1}
    odd["object"]["intervals"][0]["depth"] = 2
    odd["object"]["intervals"][0]["payloads"][0]["unit"] = "none"
    unknown: Counter[str] = Counter()

    decoded = decode_notification(json.dumps(odd).encode(), source="caiso", unknown=unknown)

    assert isinstance(decoded, Signal)
    assert unknown == {"event": 4}


def test_delete_needs_nothing_but_the_id() -> None:
    read = signal({"objectType": "EVENT", "operation": "DELETE", "object": {"id": "ev-1"}})

    assert (read.event_id, read.operation, read.cancels) == ("ev-1", Operation.DELETE, True)
    assert signal(NOTIFICATION | {"operation": "DELETE"}).program_id == "elrp-a4-pge"
    unreadable_time = changed(modificationDateTime="yesterday") | {"operation": "DELETE"}
    assert signal(unreadable_time).modified_at == datetime(1970, 1, 1, tzinfo=UTC)
    assert malformed({"objectType": "EVENT", "operation": "DELETE", "object": {}}).reason.startswith(
        "id is not"
    )


def test_signal_may_be_marked_as_a_test() -> None:
    assert signal(with_payloads(("SIMPLE", 3), ("TEST_EVENT", True))).test
    assert not signal(NOTIFICATION).test


def test_absent_options_have_no_value() -> None:
    read = signal(changed(eventName=None, priority=None, targets=None))

    assert (read.name, read.priority, read.targets) == ("", None, ())


def test_content_is_the_same_however_it_is_spelled() -> None:
    turned = json.dumps(NOTIFICATION["object"], sort_keys=True, indent=2).replace("-5000.0", "-5.0e3")
    body = b'{"operation":"CREATE", "object":' + turned.encode() + b', "objectType":"EVENT"}'

    read = decode_notification(body, source="caiso")

    assert isinstance(read, Signal)
    assert read.content_sha256 == signal(NOTIFICATION).content_sha256
    assert signal(changed(x="other")).content_sha256 != read.content_sha256


def test_content_hash_runs_over_the_canonical_object() -> None:
    body = b'{"objectType":"EVENT","operation":"DELETE","object":{"x":[1.50,"\xc3\xa9",-0.0],"id":"ev-1"}}'

    read = decode_notification(body, source="caiso")

    assert isinstance(read, Signal)
    assert read.content_sha256 == hashlib.sha256('{"id":"ev-1","x":[1.5,"é",0]}'.encode()).hexdigest()


def test_message_above_sixteen_kilobytes_is_malformed() -> None:
    assert malformed(changed(x="x" * 16_384)).reason == "longer than 16384 bytes"


def test_refusal_names_what_the_message_claims() -> None:
    body = json.dumps(NOTIFICATION).encode()

    assert refuse_notification(body, source="caiso", reason="bad_signature") == Malformed(
        "bad_signature", "caiso", "ev-2026-09-09-1", "CREATE", datetime(2026, 9, 9, 0, 5, tzinfo=UTC)
    )
    assert refuse_notification(b"{", source="caiso", reason="bad_signature") == Malformed("not JSON", "caiso")
    nothing = refuse_notification(
        b'{"object":{"id":[1]},"operation":{}}', source="caiso", reason="bad_signature"
    )
    assert nothing == Malformed("bad_signature", "caiso")


def test_what_we_write_is_what_we_read() -> None:
    asks = (
        Ask(3_600, level=1, alert="EEA Watch"),
        Ask(1_800, power_w=23_800_001, test=True),
        Ask(5_400, level=2),
    )

    body = encode_notification(
        Operation.UPDATE,
        event_id="ev-1",
        program_id="elrp-a4-sce",
        name="EEA 3",
        created_at=EVENING,
        modified_at=EVENING,
        asks=asks,
        starts_at=EVENING,
        priority=2,
        targets=("sce",),
    )

    read = decode_notification(body, source="caiso")
    assert isinstance(read, Signal)
    assert (read.operation, read.priority, read.targets, read.test) == (Operation.UPDATE, 2, ("sce",), True)
    assert read.steps == (
        SignalStep(0, EVENING, 3_600, Watts(0)),
        SignalStep(3_600, EVENING + timedelta(hours=1), 1_800, Watts(23_800_001)),
        SignalStep(5_400, EVENING + timedelta(minutes=90), 5_400, None),
    )


def test_event_written_without_anything_asked_cancels() -> None:
    body = encode_notification(
        Operation.UPDATE,
        event_id="ev-1",
        program_id="p",
        name="",
        created_at=EVENING,
        modified_at=EVENING,
    )

    read = decode_notification(body, source="caiso")

    assert isinstance(read, Signal)
    assert read.cancels


@given(st.integers(1, 10**12))
def test_every_whole_watt_survives_the_wire(power_w: int) -> None:
    body = encode_notification(
        Operation.CREATE,
        event_id="ev-1",
        program_id="p",
        name="",
        created_at=EVENING,
        modified_at=EVENING,
        asks=(Ask(3_600, power_w=power_w),),
    )

    read = decode_notification(body, source="caiso")

    assert isinstance(read, Signal)
    assert read.steps[0].power == power_w


def test_receipt_survives_the_wire() -> None:
    receipt = Receipt("caiso", "ev-1", Operation.CREATE, EVENING, ReceiptState.REJECTED, "cancelled", EVENING)

    body = encode_receipt(receipt)

    assert parse(body, max_bytes=4_096) == {
        "schema": "vpp.signal-receipt/1",
        "event_id": "ev-1",
        "operation": "CREATE",
        "modified_at": "2026-09-10T01:00:00Z",
        "state": "rejected",
        "reason": "cancelled",
        "at": "2026-09-10T01:00:00Z",
    }
    assert decode_receipt(body, source="caiso") == receipt
    for other in (b"{}", body.replace(b"receipt/1", b"receipt/2"), body.replace(b"rejected", b"lost")):
        with pytest.raises(MalformedMessage):
            decode_receipt(other, source="caiso")


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_a_signal_or_malformed(body: bytes) -> None:
    assert isinstance(decode_notification(body, source="caiso"), Signal | Malformed)


PLACES = st.sampled_from(
    [
        ("objectType",), ("operation",), ("object",), ("object", "id"), ("object", "targets"),
        ("object", "modificationDateTime"), ("object", "priority"), ("object", "intervalPeriod"),
        ("object", "intervalPeriod", "start"), ("object", "intervalPeriod", "duration"),
        ("object", "intervals"), ("object", "intervals", 0), ("object", "intervals", 0, "payloads"),
        ("object", "intervals", 0, "payloads", 0), ("object", "intervals", 0, "payloads", 1, "values"),
        ("object", "intervals", 0, "payloads", 2, "values"), ("object", "payloadDescriptors"),
        ("object", "payloadDescriptors", 0, "units"), ("object", "duration"), ("object", "eventName"),
    ]
)  # fmt: skip
ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=20)
    | st.sampled_from(["P9999Y", "PT0S", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(PLACES, ODD)
def test_odd_value_anywhere_is_a_signal_or_malformed(place: tuple[str | int, ...], odd: object) -> None:
    notification = copy.deepcopy(NOTIFICATION)
    at: Any = notification
    for part in place[:-1]:
        at = at[part]
    at[place[-1]] = odd

    decoded = decode_notification(json.dumps(notification).encode(), source="caiso")

    assert isinstance(decoded, Signal | Malformed)
    assert Decimal not in {type(step.power) for step in getattr(decoded, "steps", ())}

"""OpenADR 3.1 event notifications as this controller reads them, and its receipts.

Knows the standard's object and our rules for power, time and targets in it. Refuses to know signatures
(``signed.py``), programs and what was said before (``domain/verdict.py``).

Source: OpenADR 3.1.0 (openadr3.yaml, Definition, User Guide 7.9 for cancelling).
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import rfc8785

from vpp.domain.grid_event import Operation, Receipt, ReceiptState, Signal, SignalStep
from vpp.domain.quantities import Watts
from vpp.ports import Malformed
from vpp.wire.gateway import GridKind
from vpp.wire.openadr_time import (
    EARLIEST,
    NOW,
    duration_text,
    lay_out,
    read_duration,
    read_period,
    read_time,
)
from vpp.wire.signed import split
from vpp.wire.strict_json import (
    GRID_MESSAGE_BYTES,
    JsonObject,
    MalformedMessage,
    encode,
    optional_integer,
    optional_text,
    parse,
    require_integer,
    require_list,
    require_object,
    require_schema,
    require_text,
    require_time,
    time_text,
)

RECEIPT_SCHEMA = "vpp.signal-receipt/1"
TEST_PAYLOAD = "TEST_EVENT"
DISPATCHING_LEVEL = 2  # SIMPLE 0 and 1 only announce
HIGHEST_LEVEL = 3
LARGEST_SETPOINT_KW = 10**9

_OBJECT_ID = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_PERIOD_FIELDS = frozenset({"start", "duration", "randomizeStart"})
_STANDARD_FIELDS: tuple[tuple[tuple[str, ...], frozenset[str]], ...] = (
    ((), frozenset({"objectType", "operation", "object", "targets"})),
    (
        ("object",),
        frozenset(
            {
                "id", "objectType", "createdDateTime", "modificationDateTime", "programID", "eventName",
                "duration", "priority", "targets", "reportDescriptors", "payloadDescriptors",
                "intervalPeriod", "intervals",
            }
        ),
    ),
    (("object", "intervalPeriod"), _PERIOD_FIELDS),
    (("object", "payloadDescriptors"), frozenset({"objectType", "payloadType", "units", "currency"})),
    (("object", "intervals"), frozenset({"id", "intervalPeriod", "payloads"})),
    (("object", "intervals", "intervalPeriod"), _PERIOD_FIELDS),
    (("object", "intervals", "payloads"), frozenset({"type", "values"})),
)  # fmt: skip
"""What OpenADR 3.1 knows at each place of a notification of an event."""

_NEEDS_UNITS = frozenset({"CONTROL_SETPOINT", "DISPATCH_SETPOINT", "DISPATCH_SETPOINT_RELATIVE"})


def decode_notification(
    body: bytes, *, source: str, unknown: Counter[str] | None = None
) -> Signal | Malformed:
    """Return the signal that a notification's bytes carry, or why they carry none.

    ``Malformed`` holds the event id, operation and time as far as they could be read. ``unknown`` counts
    the fields that the standard does not have; they mean nothing here.
    """
    try:
        notification = parse(body, max_bytes=GRID_MESSAGE_BYTES)
    except MalformedMessage as malformed:
        return Malformed(malformed.reason, source)
    if unknown is not None:
        _count_unknown(notification, unknown)
    try:
        return _signal(notification, source)
    except MalformedMessage as malformed:
        return _refused(notification, source, malformed.reason)


def _count_unknown(notification: JsonObject, unknown: Counter[str]) -> None:
    for place, fields in _STANDARD_FIELDS:
        for found in _objects_at(notification, place):
            extra = len(found.keys() - fields)
            if extra:
                unknown[GridKind.EVENT] += extra


def _objects_at(value: object, place: tuple[str, ...]) -> Iterator[JsonObject]:
    """Yield the objects at a place below a value, through lists; what has another shape yields nothing."""
    for each in value if isinstance(value, list) else (value,):
        if isinstance(each, dict):
            if place:
                yield from _objects_at(each.get(place[0]), place[1:])
            else:
                yield each


def refuse_notification(body: bytes, *, source: str, reason: str) -> Malformed:
    """Return the refusal of a notification that nobody should believe, with the ids it claims to have."""
    try:
        return _refused(parse(body, max_bytes=GRID_MESSAGE_BYTES), source, reason)
    except MalformedMessage as malformed:
        return Malformed(malformed.reason, source)


def _refused(notification: JsonObject, source: str, reason: str) -> Malformed:
    event = notification.get("object")
    members = event if isinstance(event, dict) else {}
    event_id = members.get("id")
    operation = notification.get("operation")
    try:
        modified_at = read_time(members, "modificationDateTime")
    except MalformedMessage:
        modified_at = None
    return Malformed(
        reason,
        source,
        event_id=event_id if isinstance(event_id, str) and _OBJECT_ID.fullmatch(event_id) else None,
        operation=operation if isinstance(operation, str) and operation in set(Operation) else None,
        modified_at=modified_at,
    )


def _signal(notification: JsonObject, source: str) -> Signal:
    if notification.get("objectType") != "EVENT":
        raise MalformedMessage("objectType of the notification is not EVENT")
    word = require_text(notification, "operation")
    if word not in set(Operation):
        raise MalformedMessage("operation is not CREATE, UPDATE or DELETE")
    operation = Operation(word)
    event = require_object(notification, "object")
    event_id = _object_id(event, "id")
    if event.get("objectType", "EVENT") != "EVENT":
        raise MalformedMessage("objectType of the object is not EVENT")
    if operation is Operation.DELETE:
        return _deletion(event, event_id, source)
    read_time(event, "createdDateTime")
    if "objectType" not in event:
        raise MalformedMessage("objectType of the object is not EVENT")
    name = optional_text(event, "eventName") if event.get("eventName") != "" else None
    steps, cancels, test = _steps(event)
    return Signal(
        source=source,
        event_id=event_id,
        operation=operation,
        modified_at=read_time(event, "modificationDateTime"),
        content_sha256=_content_sha256(event),
        program_id=_object_id(event, "programID"),
        name=name or "",
        priority=optional_integer(event, "priority", high=2**31 - 1),
        targets=_targets(event),
        steps=steps,
        cancels=cancels,
        test=test,
    )


def _deletion(event: JsonObject, event_id: str, source: str) -> Signal:
    """Return a DELETE, which needs no more than the id: stopping must not fail for want of a field."""
    try:
        modified_at = read_time(event, "modificationDateTime")
    except MalformedMessage:
        modified_at = EARLIEST  # the same each time, so that a copy is a duplicate
    program_id = event.get("programID")
    return Signal(
        source=source,
        event_id=event_id,
        operation=Operation.DELETE,
        modified_at=modified_at,
        content_sha256=_content_sha256(event),
        program_id=program_id if isinstance(program_id, str) and _OBJECT_ID.fullmatch(program_id) else "",
        name="",
        priority=None,
        targets=(),
        steps=(),
        cancels=True,
    )


def _object_id(members: Mapping[str, object], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not _OBJECT_ID.fullmatch(value):
        raise MalformedMessage(f"{name} is not 1 to 128 of a-z, A-Z, 0-9, _ and -")
    return value


def _targets(event: JsonObject) -> tuple[str, ...]:
    if event.get("targets") is None or event["targets"] == []:
        return ()
    values = require_list(event, "targets", longest=128)
    texts = [value for value in values if isinstance(value, str) and 1 <= len(value) <= 128]
    if len(texts) != len(values):
        raise MalformedMessage("targets are not texts of 1 to 128 characters")
    return tuple(texts)


def _content_sha256(event: JsonObject) -> str:
    try:
        canonical = rfc8785.dumps(_with_floats(event))
    except (rfc8785.CanonicalizationError, ValueError) as error:
        raise MalformedMessage("the object has no RFC 8785 form") from error
    return hashlib.sha256(canonical).hexdigest()


def _with_floats(value: object) -> Any:
    # RFC 8785 writes every number as the IEEE double it is nearest to; this is the one float here.
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {name: _with_floats(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_with_floats(member) for member in value]
    return value


def _steps(event: JsonObject) -> tuple[tuple[SignalStep, ...], bool, bool]:
    """Return the steps in order of time, whether the event cancels itself, and whether it is a test."""
    default = read_period(event)
    length_s = None if event.get("duration") is None else read_duration(event, "duration")
    if length_s == 0 or (default is not None and default.duration_s == 0):
        return (), True, False  # what else a cancel says does not matter
    intervals = [_interval(each) for each in require_list(event, "intervals", longest=1_000)]
    units = _units(event)
    asked = [_Asked.read(interval, units) for interval in intervals]
    steps = lay_out(
        default,
        [read_period(interval) for interval in intervals],
        [each.power for each in asked],
        length_s=length_s,
    )
    return steps, not steps, any(each.test for each in asked)


def _interval(value: object) -> JsonObject:
    if not isinstance(value, dict):
        raise MalformedMessage("an interval is not an object")
    require_integer(value, "id", low=-(2**31), high=2**31 - 1)
    return value


def _units(event: JsonObject) -> dict[str, object]:
    if event.get("payloadDescriptors") in (None, []):
        return {}
    units: dict[str, object] = {}
    for descriptor in require_list(event, "payloadDescriptors", longest=128):
        if not isinstance(descriptor, dict):
            raise MalformedMessage("a payloadDescriptor is not an object")
        if descriptor.get("objectType") not in (None, "EVENT_PAYLOAD_DESCRIPTOR"):
            raise MalformedMessage("objectType of a payloadDescriptor is not EVENT_PAYLOAD_DESCRIPTOR")
        payload_type = require_text(descriptor, "payloadType")
        if units.setdefault(payload_type, descriptor.get("units")) != descriptor.get("units"):
            raise MalformedMessage("payloadDescriptors give one payloadType two units")
    return units


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one interval asks for. ``power`` None means all that can be sustained."""

    power: Watts | None
    test: bool

    @classmethod
    def read(cls, interval: JsonObject, units: Mapping[str, object]) -> "_Asked":
        """Return what an interval's payloads add up to."""
        payloads = _payloads(interval, units)
        alerts = [kind for kind in payloads if kind.startswith("ALERT_")]
        for kind in alerts:
            _require_alert_text(payloads[kind])
        level = _level(payloads["SIMPLE"]) if "SIMPLE" in payloads else None
        setpoint = _setpoint(payloads["CONTROL_SETPOINT"]) if "CONTROL_SETPOINT" in payloads else None
        if level is None and not alerts:
            raise MalformedMessage("an interval has neither SIMPLE nor an alert")
        emergency = "ALERT_GRID_EMERGENCY" in alerts
        dispatches = emergency if level is None else level >= DISPATCHING_LEVEL
        return cls(setpoint if dispatches else Watts(0), TEST_PAYLOAD in payloads)


def _payloads(interval: JsonObject, units: Mapping[str, object]) -> dict[str, list[object]]:
    payloads: dict[str, list[object]] = {}
    for payload in require_list(interval, "payloads", longest=128):
        if not isinstance(payload, dict):
            raise MalformedMessage("a payload is not an object")
        kind = require_text(payload, "type")
        values = payload.get("values")
        if not isinstance(values, list):
            raise MalformedMessage("values of a payload are not a list")
        if kind in payloads:
            raise MalformedMessage("an interval has two payloads of one type")
        if kind in _NEEDS_UNITS and units.get(kind) is None:
            raise MalformedMessage("a setpoint has no units in payloadDescriptors")
        if kind == "CONTROL_SETPOINT" and units[kind] != "KW":
            raise MalformedMessage("units of CONTROL_SETPOINT are not KW")
        payloads[kind] = values
    return payloads


def _require_alert_text(values: list[object]) -> None:
    text = values[0] if len(values) == 1 else None
    if not isinstance(text, str) or not 1 <= len(text) <= 128:
        raise MalformedMessage("an alert is not one text of 1 to 128 characters")


def _level(values: list[object]) -> int:
    level = values[0] if len(values) == 1 else None
    if type(level) is not int or not 0 <= level <= HIGHEST_LEVEL:
        raise MalformedMessage("SIMPLE is not one integer from 0 to 3")
    return level


def _setpoint(values: list[object]) -> Watts:
    """Return the discharge in watts; the wire says kilowatts of consumption, so discharge is negative."""
    kilowatts = values[0] if len(values) == 1 else None
    if type(kilowatts) is int:
        kilowatts = Decimal(kilowatts)
    if not isinstance(kilowatts, Decimal):
        raise MalformedMessage("CONTROL_SETPOINT is not one number")
    if kilowatts > 0:
        raise MalformedMessage("CONTROL_SETPOINT is above 0, which would ask homes to consume")
    if kilowatts < -LARGEST_SETPOINT_KW:
        raise MalformedMessage(f"CONTROL_SETPOINT is below -{LARGEST_SETPOINT_KW} KW")
    # A sender's arithmetic may leave -4999.9999999999; a part of a watt is noise, not a request.
    return Watts(int((-kilowatts * 1000).quantize(Decimal(1), rounding=ROUND_HALF_UP)))


@dataclass(frozen=True, slots=True)
class Ask:
    """One interval of a notification that we write: how long, and what it asks for.

    ``level`` is SIMPLE, ``alert`` the text of ``alert_type``, ``power_w`` the fleet's gross discharge;
    each is left out where None.
    """

    duration_s: int
    level: int | None = 3
    power_w: int | None = None
    alert: str | None = None
    alert_type: str = "ALERT_GRID_EMERGENCY"
    test: bool = False

    def payloads(self) -> list[JsonObject]:
        """Return the interval's payloads in the standard's form."""
        found: list[JsonObject] = []
        if self.alert is not None:
            found.append({"type": self.alert_type, "values": [self.alert]})
        if self.level is not None:
            found.append({"type": "SIMPLE", "values": [self.level]})
        if self.power_w is not None:
            # Less consumption is negative; a double writes every whole watt of a grid exactly.
            found.append({"type": "CONTROL_SETPOINT", "values": [-self.power_w / 1000]})
        if self.test:
            found.append({"type": TEST_PAYLOAD, "values": [True]})
        return found


def encode_notification(
    operation: Operation,
    *,
    event_id: str,
    program_id: str,
    name: str,
    created_at: datetime,
    modified_at: datetime,
    asks: Sequence[Ask] = (),
    starts_at: datetime | None = None,
    priority: int | None = None,
    targets: Sequence[str] = (),
) -> bytes:
    """Return a notification's bytes, the first line of a signed message, as a grid operator sends it.

    ``asks`` follow one another from ``starts_at``, None being the receiver's first commit. Without any,
    an event that is not deleted is cancelled by ``PT0S``.
    """
    event: JsonObject = {
        "id": event_id,
        "objectType": "EVENT",
        "createdDateTime": time_text(created_at),
        "modificationDateTime": time_text(modified_at),
        "programID": program_id,
        "eventName": name,
        "priority": priority,
        "targets": list(targets),
        "intervalPeriod": _period_text(starts_at, asks[0].duration_s if asks else 0),
        "payloadDescriptors": [
            {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "CONTROL_SETPOINT", "units": "KW"}
        ],
    }
    if asks:
        event["intervals"] = _intervals(asks, starts_at)
    return encode({"objectType": "EVENT", "operation": operation.value, "object": event})


def _intervals(asks: Sequence[Ask], starts_at: datetime | None) -> list[JsonObject]:
    uneven = len({ask.duration_s for ask in asks}) > 1
    if uneven and starts_at is None:
        raise ValueError("intervals of different length need a start; with none, give each the same length")
    intervals: list[JsonObject] = []
    after_s = 0
    for number, ask in enumerate(asks):
        interval: JsonObject = {"id": number, "payloads": ask.payloads()}
        if uneven and starts_at is not None:
            interval["intervalPeriod"] = _period_text(starts_at + timedelta(seconds=after_s), ask.duration_s)
        intervals.append(interval)
        after_s += ask.duration_s
    return intervals


def _period_text(starts_at: datetime | None, duration_s: int) -> JsonObject:
    return {
        "start": NOW if starts_at is None else time_text(starts_at),
        "duration": duration_text(duration_s),
        "randomizeStart": "PT0S",
    }


def wrap_event(operation: Operation, event: Mapping[str, object]) -> bytes:
    """Return the notification of an event object as it is."""
    return encode({"objectType": "EVENT", "operation": operation.value, "object": event})


def event_object(message: bytes) -> JsonObject:
    """Return the event of a notification, signed or bare, that was accepted; numbers as JSON reads them."""
    try:
        body = split(message, max_bytes=GRID_MESSAGE_BYTES).body
    except MalformedMessage:
        body = message  # bare, and maybe on several lines
    return dict(json.loads(body)["object"])


def encode_receipt(receipt: Receipt) -> bytes:
    """Return a receipt's body, the first line of the signed message."""
    return encode(
        {
            "schema": RECEIPT_SCHEMA,
            "event_id": receipt.event_id,
            "operation": receipt.operation.value,
            "modified_at": time_text(receipt.modified_at),
            "state": receipt.state.value,
            "reason": receipt.reason,
            "at": time_text(receipt.at),
        }
    )


def decode_receipt(body: bytes, *, source: str) -> Receipt:
    """Return the receipt that a grid operator got. Raises MalformedMessage."""
    members = parse(body, max_bytes=GRID_MESSAGE_BYTES)
    require_schema(members, RECEIPT_SCHEMA)
    operation, state = require_text(members, "operation"), require_text(members, "state")
    if operation not in set(Operation) or state not in set(ReceiptState):
        raise MalformedMessage("operation or state of a receipt is none that is known")
    return Receipt(
        source=source,
        event_id=require_text(members, "event_id"),
        operation=Operation(operation),
        modified_at=require_time(members, "modified_at"),
        state=ReceiptState(state),
        reason=optional_text(members, "reason", longest=GRID_MESSAGE_BYTES),
        at=require_time(members, "at"),
    )

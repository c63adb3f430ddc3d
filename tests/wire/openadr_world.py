"""One emergency notification, and ways to change one thing of it."""

import copy
import json
from datetime import UTC, datetime
from typing import Any

from vpp.domain.grid_event import Signal
from vpp.ports import Malformed
from vpp.wire.openadr import (
    decode_notification,
)

EVENING = datetime(2026, 9, 10, 1, tzinfo=UTC)
NOTIFICATION: dict[str, Any] = {
    "objectType": "EVENT",
    "operation": "CREATE",
    "object": {
        "id": "ev-2026-09-09-1",
        "objectType": "EVENT",
        "createdDateTime": "2026-09-09T00:05:00Z",
        "modificationDateTime": "2026-09-09T00:05:00Z",
        "programID": "elrp-a4-pge",
        "eventName": "EEA 2 CAISO Grid",
        "priority": 0,
        "targets": ["pge", "a4"],
        "intervalPeriod": {"start": "2026-09-10T01:00:00Z", "duration": "PT3H", "randomizeStart": "PT0S"},
        "payloadDescriptors": [
            {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "CONTROL_SETPOINT", "units": "KW"}
        ],
        "reportDescriptors": [{"payloadType": "DELTA_USAGE", "units": "KWH"}],
        "intervals": [
            {
                "id": 0,
                "payloads": [
                    {"type": "ALERT_GRID_EMERGENCY", "values": ["EEA 2: energy deficiency"]},
                    {"type": "SIMPLE", "values": [3]},
                    {"type": "CONTROL_SETPOINT", "values": [-5000.0]},
                ],
            }
        ],
    },
}


def signal(notification: object) -> Signal:
    """Return a notification's signal, which must be well formed."""
    decoded = decode_notification(json.dumps(notification).encode(), source="caiso")
    assert isinstance(decoded, Signal), decoded
    return decoded


def malformed(notification: object) -> Malformed:
    """Return why a notification carries no signal."""
    decoded = decode_notification(json.dumps(notification).encode(), source="caiso")
    assert isinstance(decoded, Malformed), decoded
    return decoded


def changed(**members: object) -> dict[str, Any]:
    """Return the notification with other members of its object; None removes one."""
    notification = copy.deepcopy(NOTIFICATION)
    for name, value in members.items():
        if value is None:
            del notification["object"][name]
        else:
            notification["object"][name] = value
    return notification


def with_payloads(*payloads: tuple[str, object], units: str | None = "KW") -> dict[str, Any]:
    """Return the notification with one interval of these payloads."""
    interval = {"id": 0, "payloads": [{"type": kind, "values": [value]} for kind, value in payloads]}
    notification = changed(intervals=[interval])
    notification["object"]["payloadDescriptors"][0]["units"] = units
    return notification


def lasting(*periods: dict[str, str] | None, default: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the notification with one interval per period, each asking for as many kW as its place."""
    intervals = []
    for number, period in enumerate(periods):
        payloads = [{"type": "SIMPLE", "values": [3]}, {"type": "CONTROL_SETPOINT", "values": [-1 - number]}]
        intervals.append(
            {"id": number, "payloads": payloads} | ({"intervalPeriod": period} if period else {})
        )
    return changed(intervals=intervals, intervalPeriod=default)

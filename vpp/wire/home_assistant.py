"""Home Assistant's MQTT discovery: six entities for each home, on the owner's own broker.

Topics are ``homeassistant/device/{site_id}/config`` (retained) and, below ``vpp-home/{site_id}/``, ``state``
and ``opt-out/set``. A reading that is not renewed becomes unknown there: no frozen number is shown as live.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from vpp.wire.strict_json import time_text

BASE = "vpp-home"
SWITCH_FILTER = f"{BASE}/+/opt-out/set"


@dataclass(frozen=True, slots=True)
class HomeState:
    """What Home Assistant is told of one home; None is shown as unknown.

    ``event_test``: the event that is on, or else the next one, is a test and never paid.
    ``discharge_w`` is positive when the battery gives. The energy only rises, but for a correction.
    """

    site_id: str
    next_event_start: datetime | None
    event_active: bool
    event_test: bool
    discharge_w: int | None
    energy_delivered_wh: int
    season_earnings_usd: str
    opted_out: bool


def availability_topic(owner_id: str) -> str:
    """Return where ``online`` or ``offline`` stands for all homes of an owner."""
    return f"{BASE}/{owner_id}/available"


def config_topic(site_id: str) -> str:
    """Return where a home's entities are described; an empty retained message there removes them."""
    return f"homeassistant/device/{site_id}/config"


def state_topic(site_id: str) -> str:
    """Return where a home's state stands."""
    return f"{BASE}/{site_id}/state"


def encode_config(site_id: str, owner_id: str, *, expire_after_s: int) -> bytes:
    """Return the description of a home's six entities; a state older than the time given is unknown."""

    def entity(platform: str, name: str, field: str, **more: object) -> dict[str, object]:
        return {
            "platform": platform,
            "name": name,
            "unique_id": f"vpp_{site_id}_{field}",
            "value_template": f"{{{{ value_json.{field} }}}}",
            **more,
        }

    fresh = {"expire_after": expire_after_s}
    marked = {
        "json_attributes_topic": state_topic(site_id),
        "json_attributes_template": "{{ {'test': value_json.event_test} | tojson }}",
    }
    power = {"unit_of_measurement": "W", "device_class": "power", "state_class": "measurement"}
    energy = {"unit_of_measurement": "Wh", "device_class": "energy", "state_class": "total_increasing"}
    money = {"unit_of_measurement": "USD", "device_class": "monetary"}
    components = {
        "next_event_start": entity(
            "sensor", "Next event", "next_event_start", device_class="timestamp", **marked, **fresh
        ),
        "event_active": entity("binary_sensor", "Event active", "event_active", **marked, **fresh),
        "discharge_power": entity("sensor", "Discharge power", "discharge_w", **power, **fresh),
        "energy_delivered": entity("sensor", "Energy delivered", "energy_delivered_wh", **energy, **fresh),
        "season_earnings": entity("sensor", "Season earnings", "season_earnings_usd", **money, **fresh),
        "opt_out": entity(
            "switch", "Opt out of the event", "opt_out", command_topic=f"{BASE}/{site_id}/opt-out/set"
        ),
    }
    return _encoded(
        {
            "device": {"identifiers": [f"vpp_{site_id}"], "name": f"VPP {site_id}"},
            "origin": {"name": "vpp"},
            "components": components,
            "state_topic": state_topic(site_id),
            "availability_topic": availability_topic(owner_id),
            "qos": 1,
        }
    )


def encode_state(state: HomeState) -> bytes:
    """Return a home's state; what is None there reads as unknown."""
    return _encoded(
        {
            "next_event_start": time_text(state.next_event_start) if state.next_event_start else None,
            "event_active": "ON" if state.event_active else "OFF",
            "event_test": state.event_test,
            "discharge_w": state.discharge_w,
            "energy_delivered_wh": state.energy_delivered_wh,
            "season_earnings_usd": state.season_earnings_usd,
            "opt_out": "ON" if state.opted_out else "OFF",
        }
    )


def decode_switch(topic: str, payload: bytes) -> tuple[str, bool] | None:
    """Return whose opt-out is switched and whether on; None for anything else."""
    words = {b"ON": True, b"OFF": False}
    parts = topic.split("/")
    if len(parts) != 4 or parts[0] != BASE or parts[2:] != ["opt-out", "set"] or payload not in words:
        return None
    return parts[1], words[payload]


def _encoded(body: dict[str, object]) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()

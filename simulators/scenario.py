"""A story to play: when it begins and ends, and which grid signals are sent when.

Stories are TOML files beside this package; the signals in them are OpenADR 3.1 notification objects.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from vpp.domain.interval import require_utc
from vpp.wire.signed import SigningKey
from vpp.wire.strict_json import time_text

_SETPOINT = {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "CONTROL_SETPOINT", "units": "KW"}


def simulated_source_key(seed: int, source: str) -> SigningKey:
    """Return the key of a simulated operator in a story that must repeat; no real key may be made so."""
    return SigningKey(hashlib.sha256(f"simulated source {seed} {source}".encode()).digest())


class UnknownScenario(Exception):
    """No story has that name; the message lists those there are."""


@dataclass(frozen=True, slots=True)
class PublicRecord:
    """What is publicly known of a real fleet, to stand beside a simulated one."""

    what: str
    homes: int
    peak_mw: float
    energy_mwh: float
    source: str


@dataclass(frozen=True, slots=True)
class PlannedSignal:
    """One signal and when it is sent. ``watts_per_home`` None leaves the power open."""

    send_at: datetime
    watts_per_home: int | None
    notification: Mapping[str, Any]

    @property
    def event_id(self) -> str:
        """Return the event that the signal is about."""
        return str(self.notification["object"]["id"])

    def body(self, sites: int) -> bytes:
        """Return the notification for a fleet of that many homes, as one line to be signed."""
        notification = json.loads(json.dumps(self.notification))
        if self.watts_per_home is not None:
            event = notification["object"]
            event["payloadDescriptors"] = [_SETPOINT]
            for interval in event["intervals"]:
                # Less consumption is negative in OpenADR: the fleet's gross battery output.
                power_kw = -self.watts_per_home * sites / 1000
                interval["payloads"].append({"type": "CONTROL_SETPOINT", "values": [power_kw]})
        return json.dumps(notification, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A story for a fleet, between two instants of a stepped clock."""

    name: str
    title: str
    program_id: str
    source: str
    max_mw: int
    sites: int
    starts_at: datetime
    ends_at: datetime
    signals: tuple[PlannedSignal, ...]
    record: PublicRecord | None

    def described(self) -> dict[str, object]:
        """Return what a controller must know before the story begins, ready for JSON."""
        record = self.record
        return {
            "scenario": self.name,
            "title": self.title,
            "program_id": self.program_id,
            "source": self.source,
            "max_mw": self.max_mw,
            "starts_at": time_text(self.starts_at),
            "ends_at": time_text(self.ends_at),
            "event_ids": sorted({signal.event_id for signal in self.signals}),
            "record": None
            if record is None
            else {
                "what": record.what,
                "homes": record.homes,
                "peak_mw": record.peak_mw,
                "energy_mwh": record.energy_mwh,
                "source": record.source,
            },
        }


def scenario_names() -> list[str]:
    """Return the stories there are."""
    entries = files("simulators").joinpath("scenarios").iterdir()
    return sorted(entry.name.removesuffix(".toml") for entry in entries if entry.name.endswith(".toml"))


def load_scenario(name: str) -> Scenario:
    """Return a story by its name. Raises UnknownScenario."""
    known = scenario_names()
    if name not in known:
        raise UnknownScenario(f"no scenario {name!r}; there are: {', '.join(known)}")
    story = tomllib.loads(files("simulators").joinpath("scenarios", f"{name}.toml").read_text("utf-8"))
    return Scenario(
        name=story["name"],
        title=story["title"],
        program_id=story["program_id"],
        source=story["source"],
        max_mw=story["max_mw"],
        sites=story["sites"],
        starts_at=_utc(story["starts_at"]),
        ends_at=_utc(story["ends_at"]),
        signals=tuple(
            PlannedSignal(_utc(each["send_at"]), each.get("watts_per_home"), each["notification"])
            for each in sorted(story["signal"], key=lambda each: each["send_at"])
        ),
        record=PublicRecord(**story["record"]) if "record" in story else None,
    )


def _utc(at: datetime) -> datetime:
    return require_utc(at.astimezone(UTC))

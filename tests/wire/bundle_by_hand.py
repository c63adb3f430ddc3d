"""Bundles as someone writes them who has only the description of the format: text, and round numbers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from vpp.wire.evidence_check import verify_bundle

PROGRAMS = Path(__file__).parents[2] / "config" / "programs"
WEDNESDAY = date(2026, 9, 9)
USUAL = {18: 1_000, 19: 1_200, 20: 600}
"""What the home does on any other day, by local hour: net discharge, or load at the grid meter."""
HELPED = {18: 4_500, 19: 4_400, 20: 1_900}
"""What it does on the day of the event."""

Span = tuple[str, str]


@dataclass
class Hand:
    """One home and one event; local times are texts such as ``18:00`` on the event's day."""

    day: date = WEDNESDAY
    zone: str = "America/Los_Angeles"
    program: str = "elrp-a4-pge"
    terms: Mapping[str, str] = field(default_factory=dict)  # replaced in the program file
    meter: str = "device"
    versions: Sequence[tuple[str, str, Sequence[Span]]] = (("12:00", "scheduled", [("18:00", "21:00")]),)
    opted_out: str = ""
    excluded: str = ""
    usual: Mapping[int, int] = field(default_factory=lambda: USUAL)
    helped: Mapping[int, int] = field(default_factory=lambda: HELPED)
    days: Mapping[str, Mapping[int, int]] = field(default_factory=dict)  # what single days did instead
    absent: Sequence[str] = ()  # days without readings
    since: int = 45  # days back to the first reading
    between: Mapping[str, int] = field(default_factory=dict)  # Wh since the hour began, at a time of the day
    marks: Mapping[str, str] = field(default_factory=dict)  # another quality of the reading at a time
    left_out: Sequence[str] = ()  # readings of the event's day that never came

    def at(self, text: str, day: date | None = None) -> datetime:
        hour, minute, second = (int(part) for part in f"{text}:00".split(":")[:3])
        local = datetime.combine(day or self.day, datetime.min.time(), tzinfo=ZoneInfo(self.zone))
        return local.replace(hour=hour, minute=minute, second=second).astimezone(UTC)

    def rows(self) -> list[tuple[datetime, int, int, str]]:
        """Return (instant, outward Wh, inward Wh, quality): a reading on each hour from noon to 23:00."""
        out, inn, found = 50_000, 80_000, []
        for back in range(self.since, -1, -1):
            day = self.day - timedelta(days=back)
            if day.isoformat() in self.absent:
                continue
            energies = self.days.get(day.isoformat(), self.usual if back else self.helped)
            for hour in range(12, 24):
                found.append((self.at(f"{hour}:00", day), out, inn, "OK"))
                for text, wh in sorted(self.between.items()):
                    if not back and int(text[:2]) == hour:
                        found.append((self.at(text), out + wh, inn, "OK"))
                net = energies.get(hour, 0) * (1 if self.meter == "device" else -1)
                out, inn = out + max(net, 0), inn + max(-net, 0)
        marks = {self.at(text): mark for text, mark in self.marks.items()}
        gone = {self.at(text) for text in self.left_out}
        return [(at, a, b, marks.get(at, mark)) for at, a, b, mark in found if at not in gone]

    def files(self) -> dict[str, bytes]:
        text = (PROGRAMS / f"{self.program}.toml").read_text()
        for old, new in self.terms.items():
            assert old in text
            text = text.replace(old, new)
        spans = [
            {
                "effective_at": f"{self.at(at):%Y-%m-%dT%H:%M:%SZ}",
                "status": status,
                "intervals": [
                    {"starts_at": self.at(starts).isoformat(), "ends_at": self.at(ends).isoformat()}
                    for starts, ends in asked
                ],
            }
            for at, status, asked in self.versions
        ]
        event = {
            "event_id": "ev", "program_id": self.program, "time_zone": self.zone, "versions": spans
        }  # fmt: skip
        left = f"{self.at(self.opted_out):%Y-%m-%dT%H:%M:%SZ}" if self.opted_out else ""
        lines = [
            f"home,{at:%Y-%m-%dT%H:%M:%SZ},"
            + (f"{out},{inn},,," if self.meter == "device" else f",,{inn},{out},")
            + mark
            for at, out, inn, mark in self.rows()
        ]
        header = "site_id,at,discharged_wh,charged_wh,imported_wh,exported_wh,quality"
        return {
            "event.json": json.dumps(event).encode(),
            "program.toml": text.encode(),
            "sites.csv": f"site_id,owner_id,meter,opted_out_at\nhome,owner,{self.meter},{left}\n".encode(),
            "meter.csv": "\n".join([header, *lines, ""]).encode(),
            "excluded_days.csv": f"site_id,date,reason\n{self.excluded}".encode(),
        }


def settled(files: Mapping[str, bytes]) -> dict[str, object]:
    """Return what a bundle of one home computes to."""
    report = verify_bundle(files)
    (site,) = report.as_json()["sites"]  # type: ignore[misc]  # JSON as it is written
    return dict(site)


def earned(case: Hand) -> tuple[object, object, object]:
    """Return incremental Wh, dollars and quality."""
    site = settled(case.files())
    return site["incremental_wh"], site["amount_usd"], site["quality"]

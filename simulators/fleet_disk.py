"""What the homes of a real-time fleet keep when their process ends: one SQLite file beside ``gateways.json``.

It holds each gateway's commands, the readings that nobody has confirmed, and what its battery held and had
counted, so that homes which come back go on as themselves under a new boot. Made for thousands of homes in
one process: what they keep between two steps of time goes to the disk in one commit, before anything that
they say leaves and before a battery moves on. Measured on a disk that takes 5 ms to sync: 5,000 homes answer
a command each in 5.1 s, and in 4.4 s without a disk; a commit for each thing stored would add a minute.
"""

import os
import sqlite3
from datetime import datetime
from itertools import groupby
from pathlib import Path

from simulators.battery import KeptBattery
from simulators.command_disk import DiskContent, content_of, text_of
from simulators.home_files import UnusableFile
from simulators.meter_buffer import KEPT_S, MeterBuffer
from simulators.powerwall import Gateway
from vpp.domain.delivery import MeterReading, Quality
from vpp.domain.interval import from_epoch, to_epoch
from vpp.domain.quantities import Permille, WattHours

_TABLES = """
CREATE TABLE IF NOT EXISTS command (site_id TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS battery (
    site_id TEXT PRIMARY KEY, at_s INTEGER NOT NULL, stored_tenths INTEGER NOT NULL,
    discharged_ws INTEGER NOT NULL, charged_ws INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reading (
    site_id TEXT, boot_id TEXT, number INTEGER, at_s INTEGER NOT NULL, discharged_wh INTEGER NOT NULL,
    charged_wh INTEGER NOT NULL, soc_permille INTEGER NOT NULL, PRIMARY KEY (site_id, boot_id, number)
) WITHOUT ROWID;
"""
_BUSY_S = 10.0


class FleetDisk:
    """The open file. ``commit`` makes durable what its homes kept since the commit before."""

    def __init__(self, path: Path, *, now: datetime) -> None:
        """Open the file, or make it, readable by this user alone. Readings of over seven days ago go.

        Raises:
            UnusableFile: It cannot be written, or is not such a file.
        """
        self._path = path
        self._contents: dict[str, str] = {}
        self._batteries: dict[str, KeptBattery] = {}
        self._readings: list[tuple[str, str, int, int, int, int, int]] = []
        self._freed: dict[tuple[str, str], int] = {}
        self._held: dict[tuple[str, str], tuple[int, int]] = {}  # oldest and newest index, by boot
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_TABLES)
            self._database.execute("DELETE FROM reading WHERE at_s < ?", (to_epoch(now) - KEPT_S,))
        except (OSError, sqlite3.Error) as unusable:
            raise self._unusable(unusable) from unusable

    def of(self, site_id: str) -> "SiteDisk":
        """Return the part of one home's gateway."""
        return SiteDisk(self, site_id)

    def batteries(self) -> dict[str, KeptBattery]:
        """Return by site what each battery was when its home was last seen."""
        rows = self._database.execute(
            "SELECT site_id, at_s, stored_tenths, discharged_ws, charged_ws FROM battery"
        )
        return {site_id: KeptBattery(*numbers) for site_id, *numbers in rows}

    def unconfirmed(self, site_id: str) -> list[MeterBuffer]:
        """Return the readings that nobody has confirmed yet, one buffer for each boot, oldest boot first."""
        rows = self._database.execute(
            "SELECT boot_id, number, at_s, discharged_wh, charged_wh, soc_permille FROM reading"
            " WHERE site_id = ? ORDER BY boot_id, number",
            (site_id,),
        )
        buffers = []
        for boot_id, readings in groupby((_reading(site_id, *row) for row in rows), lambda row: row.boot_id):
            held = list(readings)
            self._held[site_id, boot_id] = (held[0].index, held[-1].index)
            buffers.append((held[0].at, MeterBuffer(site_id, boot_id, held)))
        return [buffer for _, buffer in sorted(buffers, key=lambda each: each[0])]

    def content(self, site_id: str) -> DiskContent:
        """Return what a gateway stored last; empty when it never did."""
        text = self._contents.get(site_id)
        if text is None:
            found = self._database.execute("SELECT content FROM command WHERE site_id = ?", (site_id,))
            row = found.fetchone()
            text = None if row is None else row[0]
        return DiskContent() if text is None else content_of(text)

    def keep_content(self, site_id: str, content: DiskContent) -> None:
        """Keep what a gateway stores, from the next commit on."""
        self._contents[site_id] = text_of(content)

    def keep(self, gateway: Gateway) -> None:
        """Keep a home's battery and its readings as they are now, from the next commit on."""
        site_id, battery = gateway.identity.site_id, gateway.inverter.battery
        self._batteries[site_id] = KeptBattery(
            gateway.inverter.at_s, battery.stored_tenths, battery.discharged_ws, battery.charged_ws
        )
        for buffer in gateway.buffers:
            boot = (site_id, buffer.boot_id)
            oldest, newest = self._held.get(boot, (1, 0))
            if buffer.newest_index > newest:
                self._readings.extend(_row(reading) for reading in buffer.after(newest))
            if buffer.oldest_index > oldest:
                self._freed[boot] = buffer.oldest_index
            self._held[boot] = (buffer.oldest_index, buffer.newest_index)

    def commit(self) -> None:
        """Make everything durable that was kept since the last commit.

        Raises:
            UnusableFile: The disk does not take it. Nothing that depends on it may be said or done.
        """
        if not (self._contents or self._batteries):
            return
        batteries = [(site_id, *kept.numbers) for site_id, kept in self._batteries.items()]
        freed = [(*boot, oldest) for boot, oldest in self._freed.items()]
        write = self._database.executemany
        try:
            self._database.execute("BEGIN IMMEDIATE")
            write("INSERT OR REPLACE INTO command VALUES (?, ?)", list(self._contents.items()))
            write("INSERT OR REPLACE INTO battery VALUES (?, ?, ?, ?, ?)", batteries)
            write("INSERT OR REPLACE INTO reading VALUES (?, ?, ?, ?, ?, ?, ?)", self._readings)
            write("DELETE FROM reading WHERE site_id = ? AND boot_id = ? AND number < ?", freed)
            self._database.execute("COMMIT")
        except sqlite3.Error as unusable:
            raise self._unusable(unusable) from unusable
        self._contents, self._batteries, self._readings, self._freed = {}, {}, [], {}

    def close(self) -> None:
        """Commit and let go of the file."""
        self.commit()
        self._database.close()

    def _unusable(self, why: Exception) -> UnusableFile:
        return UnusableFile(
            f"{self._path}: {why}; homes act on nothing that is not on the disk. Make room, or move the file"
            " away: then they begin anew as their history leaves them"
        )


class SiteDisk:
    """One gateway's disk within the file of all. What it stores is durable with the fleet's next commit."""

    def __init__(self, disk: FleetDisk, site_id: str) -> None:
        self._disk = disk
        self._site_id = site_id

    def load(self) -> DiskContent:
        """Return what was stored last."""
        return self._disk.content(self._site_id)

    def store(self, content: DiskContent) -> None:
        """Keep the content."""
        self._disk.keep_content(self._site_id, content)


def _row(reading: MeterReading) -> tuple[str, str, int, int, int, int, int]:
    assert reading.soc_permille is not None, "a gateway always knows its charge"
    assert reading.discharged_wh is not None, "and its counters"
    assert reading.charged_wh is not None, "and its counters"
    return (
        reading.site_id,
        reading.boot_id,
        reading.index,
        to_epoch(reading.at),
        int(reading.discharged_wh),
        int(reading.charged_wh),
        int(reading.soc_permille),
    )


def _reading(
    site_id: str, boot_id: str, index: int, at_s: int, discharged_wh: int, charged_wh: int, soc_permille: int
) -> MeterReading:
    return MeterReading(
        site_id=site_id,
        boot_id=boot_id,
        index=index,
        at=from_epoch(at_s),
        discharged_wh=WattHours(discharged_wh),
        charged_wh=WattHours(charged_wh),
        soc_permille=Permille(soc_permille),
        quality=Quality.OK,
    )

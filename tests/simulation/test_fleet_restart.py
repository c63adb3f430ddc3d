"""Homes in real time go on as themselves when their process ends, under a new boot."""

import asyncio
import json
import sqlite3
import stat
import sys
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from simulators.fleet_disk import FleetDisk
from simulators.home_files import UnusableFile, disk_path
from simulators.homes import Homes
from tests.simulation.gateways import samples
from tests.simulation.test_fleet import CONTROLLER, START, a_discharge, homes_in, make_homes
from vpp.adapters.clock import WallClock
from vpp.adapters.embedded_broker import EmbeddedBroker
from vpp.adapters.mqtt import Access, MqttTransport
from vpp.domain.delivery import MeterReading, MeterReceipt
from vpp.domain.interval import to_epoch
from vpp.ports import Packet
from vpp.wire.gateway import controller_filters
from vpp.wire.gateway_meter import decode_meter, encode_receipt
from vpp.wire.signed import sign, split

BEGINS = to_epoch(START)


def a_fleet(folder: Path, at: datetime = START) -> tuple[Homes, list[str], FleetDisk]:
    """Return homes of a new process; what it said last is on the disk, its end is nobody's business."""
    disk = FleetDisk(disk_path(folder), now=at)
    homes, online = homes_in(folder, at, disk)
    return homes, online, disk


def boot_ids(packets: list[Packet]) -> set[str]:
    return {json.loads(each.payload)["boot_id"] for each in packets if each.topic.endswith("/status")}


def metered(packets: list[Packet], site_id: str) -> list[MeterReading]:
    found = []
    for packet in packets:
        if packet.topic.endswith(f"/{site_id}/meter"):
            body = split(packet.payload, max_bytes=4096).body
            found.extend(decode_meter(body, site_id=site_id).readings)
    return found


def a_home_that_discharges(homes: Homes, online: list[str]) -> str:
    homes.connect(online, BEGINS)
    homes.take([a_discharge(homes.gateway(each).topics_heard[0], at=START) for each in online], BEGINS)
    homes.advance(BEGINS + 400)
    return next(each for each in online if homes.gateway(each).inverter.power_w == 2_000)


def test_homes_that_come_back_draw_a_boot_id_of_their_own(tmp_path: Path) -> None:
    make_homes(tmp_path)
    first, online, _ = a_fleet(tmp_path)
    again, _, _ = a_fleet(tmp_path)

    ids = boot_ids(first.connect(online, BEGINS)) | boot_ids(again.connect(online, BEGINS + 60))

    assert len(ids) == 2 * len(online)


def test_stepped_homes_have_the_same_boot_ids_each_time(tmp_path: Path) -> None:
    make_homes(tmp_path)
    (first, online), (again, _) = homes_in(tmp_path), homes_in(tmp_path)

    assert boot_ids(first.connect(online, BEGINS)) == boot_ids(again.connect(online, BEGINS))


def test_command_is_on_the_disk_before_its_answer_leaves(tmp_path: Path) -> None:
    make_homes(tmp_path)
    homes, online, _ = a_fleet(tmp_path)
    homes.connect(online, BEGINS)

    homes.take([a_discharge(homes.gateway(online[0]).topics_heard[0], at=START)], BEGINS)

    with sqlite3.connect(disk_path(tmp_path)) as beside:
        found = beside.execute("SELECT site_id, content FROM command").fetchall()
    assert [site_id for site_id, _ in found] == [online[0]]
    assert json.loads(found[0][1])["highest"]["vpp-1"][:2] == [1_789_002_000, 1]


def test_home_that_comes_back_within_its_lease_goes_on_and_knows_what_is_stale(tmp_path: Path) -> None:
    make_homes(tmp_path)
    homes, online, _ = a_fleet(tmp_path)
    site_id = a_home_that_discharges(homes, online)

    again, _, _ = a_fleet(tmp_path, START + timedelta(seconds=420))
    said = again.connect([site_id], BEGINS + 420)
    topic = again.gateway(site_id).topics_heard[0]
    older = again.take([a_discharge(topic, at=START, sequence=1, watts=3_000)], BEGINS + 421)
    again.advance(BEGINS + 600)

    assert samples(said)[0]["sequence"] == 1
    assert json.loads(older[-1].payload.split(b"\n")[0])["state"] == "accepted", "the earlier answer again"
    assert again.gateway(site_id).inverter.power_w == 2_000


def test_lease_that_ran_out_while_no_process_ran_moves_nothing(tmp_path: Path) -> None:
    make_homes(tmp_path)
    homes, online, _ = a_fleet(tmp_path)
    site_id = a_home_that_discharges(homes, online)
    given = homes.gateway(site_id).inverter.delivered_ws

    again, _, _ = a_fleet(tmp_path, START + timedelta(hours=1))
    again.connect([site_id], BEGINS + 3600)
    again.advance(BEGINS + 3700)

    assert given["ev-1"] > 0
    assert again.gateway(site_id).inverter.delivered_ws == {}


@pytest.mark.parametrize("away_s", [1, 100, 4_000, 200_000])
def test_counters_go_on_where_the_process_before_left_them(tmp_path: Path, away_s: int) -> None:
    make_homes(tmp_path)
    homes, online, _ = a_fleet(tmp_path)
    site_id = a_home_that_discharges(homes, online)
    before = homes.gateway(site_id).inverter.battery

    again, _, _ = a_fleet(tmp_path, START + timedelta(seconds=400 + away_s))
    after = again.gateway(site_id).inverter.battery

    assert before.discharged_ws <= after.discharged_ws <= before.discharged_ws + 5_000 * away_s
    assert before.charged_ws <= after.charged_ws <= before.charged_ws + 5_000 * away_s
    taken, given = after.charged_ws - before.charged_ws, after.discharged_ws - before.discharged_ws
    assert after.stored_tenths == before.stored_tenths + 9 * taken - 10 * given


def test_readings_that_nobody_confirmed_are_sent_by_the_next_process_and_confirmed_ones_are_not(
    tmp_path: Path,
) -> None:
    make_homes(tmp_path)
    homes, online, _ = a_fleet(tmp_path)
    site_id = a_home_that_discharges(homes, online)
    homes.advance(BEGINS + 1300)
    held = metered(homes.connect([site_id], BEGINS + 1300), site_id)
    receipt = MeterReceipt(site_id, held[0].boot_id, 2)
    topic = homes.gateway(site_id).topics_heard[1]
    homes.take([Packet(topic, sign(encode_receipt(receipt), CONTROLLER, "vpp-1"))], BEGINS + 1301)

    again, _, _ = a_fleet(tmp_path, START + timedelta(seconds=1400))
    said = metered(again.connect([site_id], BEGINS + 1400), site_id)
    again.take([Packet(topic, sign(encode_receipt(_all_of(said)), CONTROLLER, "vpp-1"))], BEGINS + 1401)
    third, _, _ = a_fleet(tmp_path, START + timedelta(seconds=1500))

    assert said == held[2:]
    assert metered(third.connect([site_id], BEGINS + 1500), site_id) == []


def _all_of(said: list[MeterReading]) -> MeterReceipt:
    return MeterReceipt(said[-1].site_id, said[-1].boot_id, said[-1].index)


def test_readings_of_over_seven_days_ago_are_gone(tmp_path: Path) -> None:
    make_homes(tmp_path)
    homes, online, _ = a_fleet(tmp_path)
    site_id = a_home_that_discharges(homes, online)

    again, _, _ = a_fleet(tmp_path, START + timedelta(days=7, seconds=350))

    held = metered(again.connect([site_id], BEGINS + 7 * 86_400 + 350), site_id)
    assert [reading.at for reading in held] == []


def test_what_homes_keep_is_readable_by_one_user_and_forgotten_when_homes_are_made_anew(
    tmp_path: Path,
) -> None:
    make_homes(tmp_path)
    homes, online, _ = a_fleet(tmp_path)
    a_home_that_discharges(homes, online)
    mode = stat.S_IMODE(disk_path(tmp_path).stat().st_mode)

    make_homes(tmp_path)

    assert mode == 0o600
    assert list(tmp_path.glob("gateways.sqlite*")) == []


def test_file_that_is_none_of_ours_is_named(tmp_path: Path) -> None:
    disk_path(tmp_path).write_bytes(b"x" * 10_000)

    with pytest.raises(UnusableFile, match=r"gateways\.sqlite"):
        FleetDisk(disk_path(tmp_path), now=START)


class Watched:
    """A controller's ear at the broker, and the fleet process that it kills."""

    def __init__(self, folder: Path, broker: str, transport: MqttTransport) -> None:
        self._folder, self._broker, self.transport = folder, broker, transport

    async def starts(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "simulators", "fleet", "--broker", self._broker,
            "--sites", str(self._folder / "sites.csv"),
            "--controller-key", f"vpp-1:{CONTROLLER.verifying_key.text}",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

    async def hears(self, kind: str, **wanted: object) -> tuple[str, dict[str, object]]:
        """Return the topic and body of the next message of a kind that says so."""
        while True:
            for packet in await self.transport.receive():
                if packet.topic.endswith(f"/{kind}"):
                    body = json.loads(packet.payload.split(b"\n")[0])
                    if wanted.items() <= body.items():
                        return packet.topic, body


async def test_fleet_killed_right_after_an_answer_comes_back_with_the_command_and_a_new_boot(
    tmp_path: Path,
) -> None:
    make_homes(tmp_path, 1)
    async with EmbeddedBroker() as broker, asyncio.timeout(60):
        access = Access.from_url(broker.url, client_id="controller")
        async with MqttTransport(access, filters=controller_filters(), jitter=Random(0).random) as transport:
            await transport.wait_connected()
            watched = Watched(tmp_path, broker.url, transport)
            fleet = await watched.starts()
            try:
                topic, first = await watched.hears("status", state="online")
                command = topic.replace("status", "command")
                await transport.send([a_discharge(command, at=WallClock().now(), sequence=7)])
                await watched.hears("ack", sequence=7)
                fleet.kill()
                await fleet.wait()
                fleet = await watched.starts()
                _, again = await watched.hears("status", state="online")
                await transport.send([a_discharge(command, at=WallClock().now(), sequence=6)])
                _, older = await watched.hears("ack", sequence=6)
            finally:
                if fleet.returncode is None:
                    fleet.kill()
                    await fleet.wait()

    assert first["sequence"] == 0
    assert again["sequence"] == 7
    assert again["boot_id"] != first["boot_id"]
    assert older["reason"] == "stale_sequence"

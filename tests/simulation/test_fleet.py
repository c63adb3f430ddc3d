"""Thousands of gateways live in one process, stepped over pipes or in real time over a real broker."""

import asyncio
import csv
import json
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from simulators.__main__ import main
from simulators.batched_client import BatchedClient, BrokerGone
from simulators.fleet import DropLog
from simulators.fleet_disk import FleetDisk
from simulators.history import three_weeks_before
from simulators.home_files import (
    UnusableFile,
    gateway_key,
    read_controller_key,
    read_gateway_file,
    read_site_ids,
)
from simulators.homes import Homes, load_homes
from vpp.adapters.embedded_broker import EmbeddedBroker
from vpp.adapters.mqtt import Access, MqttTransport
from vpp.domain.command import Action
from vpp.domain.delivery import Quality
from vpp.domain.interval import from_epoch, to_epoch
from vpp.domain.quantities import Permille, Watts
from vpp.ports import Packet
from vpp.wire.enrollment_file import read_enrollments
from vpp.wire.gateway import (
    Command,
    GatewayTopic,
    controller_filters,
    decode_ack,
    encode_command,
    parse_topic,
)
from vpp.wire.meter_file import read_meter_file
from vpp.wire.signed import SigningKey, VerifyingKey, sign, split, verify
from vpp.wire.strict_json import time_text

CONTROLLER = SigningKey(bytes(range(32)))
PINNED = {"vpp-1": CONTROLLER.verifying_key}
START = datetime(2026, 9, 10, 0, 50, tzinfo=UTC)


def make_homes(folder: Path, count: int = 12, *more: str) -> Path:
    assert main(["homes", "--count", str(count), "--out", str(folder), "--scenario", "default", *more]) == 0
    return folder


def homes_in(folder: Path, until: datetime = START, disk: FleetDisk | None = None) -> tuple[Homes, list[str]]:
    kept, site_ids = read_gateway_file(folder), read_site_ids(folder / "sites.csv")
    return load_homes(kept, site_ids, until=until, shards=None, controller_keys=PINNED, disk=disk)


def a_discharge(topic: str, *, at: datetime, watts: int = 2_000, sequence: int = 1) -> Packet:
    site_id = topic.split("/")[3]
    command = Command(
        site_id, "ev-1", 1_789_002_000, sequence, Action.DISCHARGE, Watts(watts), Permille(200),
        issued_at=at, starts_at=at + timedelta(seconds=60), expires_at=at + timedelta(minutes=15),
        event_ends_at=at + timedelta(hours=2), ramp_s=30, spread_s=60, test=False,
    )  # fmt: skip
    return Packet(topic, sign(encode_command(command), CONTROLLER, "vpp-1"))


def test_files_of_the_homes_are_what_the_controller_takes(tmp_path: Path) -> None:
    make_homes(tmp_path)

    requests = read_enrollments(
        (tmp_path / "sites.csv").read_bytes(), now=START, file_name="sites.csv", program_ids=["elrp-a4-pge"]
    )
    messages = read_meter_file((tmp_path / "history.csv").read_bytes(), now=START, file_name="history.csv")

    assert len(requests) == 12
    first = requests[0]
    assert first.gateway_public_key == gateway_key(1, first.site_id).verifying_key.raw
    assert {message.site_id for message in messages} == {request.site_id for request in requests}
    readings = messages[0].readings
    assert len(readings) >= 20 * 24
    assert all(reading.quality is Quality.OK for reading in readings)
    assert first.consent.given_at < readings[0].at


def test_private_keys_are_readable_by_one_user(tmp_path: Path) -> None:
    make_homes(tmp_path)

    assert stat.S_IMODE((tmp_path / "gateways.json").stat().st_mode) == 0o600


def test_history_of_evenings_alone_is_shorter(tmp_path: Path) -> None:
    make_homes(tmp_path / "all")
    make_homes(tmp_path / "evenings", 12, "--evenings")

    whole, evenings = (len((tmp_path / each / "history.csv").read_text()) for each in ("all", "evenings"))

    assert evenings < whole / 2


def test_live_counters_go_on_where_the_imported_history_ends(tmp_path: Path) -> None:
    make_homes(tmp_path)
    with (tmp_path / "history.csv").open() as file:
        last = {row["site_id"]: int(row["discharged_wh"]) for row in csv.DictReader(file)}
    homes, online = homes_in(tmp_path)

    for site_id in online:
        assert 0 <= homes.gateway(site_id).inverter.battery.discharged_wh - last[site_id] < 15_000


def test_site_without_a_key_is_named(tmp_path: Path) -> None:
    make_homes(tmp_path)
    with (tmp_path / "sites.csv").open("a") as file:
        file.write("s-stranger,o-1,elrp-a4-pge,pge,marin,marin-01,13500,5000,20,AA,1,2026-01-01T00:00:00Z\n")

    with pytest.raises(UnusableFile, match="s-stranger"):
        homes_in(tmp_path)


def test_controller_key_is_read_as_the_controller_shows_it(tmp_path: Path) -> None:
    key = CONTROLLER.verifying_key
    shown = tmp_path / "key.json"
    shown.write_text(json.dumps({"kid": "vpp-1", "public_key": key.text}))

    assert read_controller_key(None, shown) == read_controller_key(f"vpp-1:{key.text}", None) == PINNED


def test_homes_answer_and_discharge_together(tmp_path: Path) -> None:
    make_homes(tmp_path, 60)
    homes, online = homes_in(tmp_path)
    begins = to_epoch(START)
    homes.connect(online, begins)
    packets = [a_discharge(homes.gateway(site_id).topics_heard[0], at=START) for site_id in online]

    answers = homes.take(packets, begins + 1)
    for now_s in range(begins, begins + 1800, 5):
        homes.advance(now_s)

    assert sum(packet.topic.endswith("/ack") for packet in answers) == len(online)
    seen = homes.observed()
    assert seen.commands_received == len(online)
    assert seen.reserve_violations == 0
    assert sum(seen.delivered_wh["ev-1"].values()) > 0.8 * len(online) * 2_000 * 14 / 60 * 0.7


def test_fields_that_no_home_knows_are_in_the_report_of_all_homes(tmp_path: Path) -> None:
    make_homes(tmp_path)
    homes, online = homes_in(tmp_path)
    homes.connect(online, to_epoch(START))
    for site_id in online[:2]:
        known = a_discharge(homes.gateway(site_id).topics_heard[0], at=START)
        body = {**json.loads(known.payload.split(b"\n")[0]), "tariff": "a"}
        newer = replace(known, payload=sign(json.dumps(body).encode(), CONTROLLER, "vpp-1"))
        homes.take([newer], to_epoch(START))

    assert homes.observed().unknown_fields == {"command": 2}


def test_homes_off_the_air_hear_nothing(tmp_path: Path) -> None:
    make_homes(tmp_path, 100)
    homes, online = homes_in(tmp_path)
    silent = next(each for each in read_site_ids(tmp_path / "sites.csv") if each not in online)

    command = a_discharge(homes.gateway(silent).topics_heard[0], at=START)

    assert homes.take([command], to_epoch(START)) == []


def test_usage_is_shown_for_what_nobody_knows(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fly"])

    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_missing_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fleet", "--broker", "mqtt://127.0.0.1:1", "--sites", "none.csv", "--keys", str(tmp_path)]

    assert main(words) == 1
    assert capsys.readouterr().err.count("\n") == 1


class Controller:
    """Just enough of a controller to step the child: it counts, commands and checks answers."""

    def __init__(self, transport: MqttTransport, child: asyncio.subprocess.Process) -> None:
        self.transport, self.child = transport, child
        self.sent = 0
        self.heard: list[Packet] = []

    async def says(self) -> dict[str, object]:
        assert self.child.stdout is not None
        line = await self.child.stdout.readline()
        assert line, "the child ended"
        return json.loads(line)

    async def hear(self, packets: int) -> None:
        while len(self.heard) < packets:
            self.heard.extend(await self.transport.receive())

    async def ask(self, line: dict[str, object]) -> dict[str, object]:
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps(line).encode() + b"\n")
        await self.child.stdin.drain()
        return await self.says()

    async def step(self, at: datetime, packets: list[Packet]) -> None:
        await self.transport.send(packets)
        await self.transport.flush()
        self.sent += len(packets)
        done = await self.ask({"step": time_text(at), "sent": self.sent})
        assert done["received"] == self.sent
        await self.hear(int(str(done["sent"])))


@asynccontextmanager
async def a_stepped_child(folder: Path) -> AsyncIterator[Controller]:
    async with EmbeddedBroker() as broker:
        access = Access.from_url(broker.url, client_id="controller")
        async with MqttTransport(access, filters=controller_filters(), jitter=Random(0).random) as transport:
            await transport.wait_connected()
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "simulators", "demo", "--broker", broker.url,
                "--sites", str(folder / "sites.csv"), "--keys", str(folder), "--scenario", "default",
                "--controller-key", f"vpp-1:{CONTROLLER.verifying_key.text}",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            assert child.stdin is not None
            try:
                yield Controller(transport, child)
                child.stdin.close()
                assert await child.wait() == 0
            finally:
                if child.returncode is None:
                    child.kill()
                    await child.wait()


async def test_stepped_child_plays_homes_and_grid_over_a_real_broker(tmp_path: Path) -> None:
    make_homes(tmp_path, 20)
    async with asyncio.timeout(60), a_stepped_child(tmp_path) as controller:
        ready = await controller.says()
        await controller.hear(int(str(ready["sent"])))
        online = {_topic(packet).site_id for packet in controller.heard if packet.topic.endswith("/status")}
        homes, _ = homes_in(tmp_path)
        at = START + timedelta(seconds=5)
        await controller.step(
            at, [a_discharge(homes.gateway(each).topics_heard[0], at=at) for each in online]
        )
        for number in range(2, 40):
            await controller.step(START + timedelta(seconds=5 * number), [])
        report = (await controller.ask({"report": True}))["report"]

    acks = [packet for packet in controller.heard if packet.topic.endswith("/ack")]
    assert len(online) == ready["online"] == len(acks) == report["homes_commanded"]
    for packet in acks:
        key = VerifyingKey(gateway_key(1, _topic(packet).site_id).verifying_key.raw)
        decode_ack(verify(split(packet.payload, max_bytes=4096), key), site_id=_topic(packet).site_id)
    assert [packet.topic for packet in controller.heard].count("grid/v1/caiso/event") == 1
    assert report["reserve_violations"] == 0
    assert report["delivered_wh"]["ev-1"] > 0


async def test_real_time_fleet_connects_each_home_with_its_own_will(tmp_path: Path) -> None:
    make_homes(tmp_path, 5)
    async with EmbeddedBroker() as broker, asyncio.timeout(60):
        access = Access.from_url(broker.url, client_id="controller")
        async with MqttTransport(access, filters=controller_filters(), jitter=Random(0).random) as transport:
            await transport.wait_connected()
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "simulators", "fleet", "--broker", broker.url,
                "--sites", str(tmp_path / "sites.csv"), "--keys", str(tmp_path),
                "--controller-key", f"vpp-1:{CONTROLLER.verifying_key.text}",
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            try:
                states = await _statuses(transport, "online", 5)
                command = next(iter(states))[0].replace("/status", "/command")
                await transport.send([Packet(command, b"forged")] * 3)
                assert child.stderr is not None
                while not (dropped := await child.stderr.readline()).startswith(b"dropped"):
                    assert dropped, "the fleet ended"
                child.terminate()
                states |= await _statuses(transport, "offline", 5)
                output, _ = await child.communicate()
            finally:
                if child.returncode is None:
                    child.kill()
                    await child.wait()

    assert child.returncode == 0
    report = json.loads(output)
    assert report["homes"] == 5
    assert report["dropped"] == {"command not signed: no second line": 3}
    assert len(states) == 10


def test_what_homes_drop_is_said_once_a_second_with_its_reason(tmp_path: Path) -> None:
    make_homes(tmp_path)
    homes, online = homes_in(tmp_path)
    homes.connect(online, to_epoch(START))
    said: list[str] = []
    log = DropLog(homes, said.append)
    forged = [Packet(homes.gateway(each).topics_heard[0], b"forged") for each in online[:3]]
    kept = replace(a_discharge(homes.gateway(online[0]).topics_heard[0], at=START), retain=True)

    for second in range(2):
        homes.take([*forged, kept], to_epoch(START) + second)
        log.notice(second)
        log.notice(second)

    assert said == ["dropped command not signed: no second line: 3\n", "dropped command retained: 1\n"] * 2


async def _statuses(transport: MqttTransport, state: str, wanted: int) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    while len(found) < wanted:
        for packet in await transport.receive():
            if packet.topic.endswith("/status") and json.loads(packet.payload)["state"] == state:
                found.add((packet.topic, state))
    return found


def _topic(packet: Packet) -> GatewayTopic:
    found = parse_topic(packet.topic)
    assert isinstance(found, GatewayTopic)
    return found


async def test_batches_over_one_connection_arrive_whole_and_in_order() -> None:
    async with EmbeddedBroker() as broker, asyncio.timeout(30):
        access = Access.from_url(broker.url, client_id="homes")
        async with BatchedClient(access, filters=["t/+"]) as client:
            sent = [
                Packet(f"t/{number % 7}", b"x" * (number % 300), qos=number % 5 and 1)
                for number in range(3_000)
            ]
            await client.send(sent)
            await client.flush()
            heard: list[Packet] = []
            while len(heard) < len(sent):
                heard.extend(await client.receive())

    assert [each.payload for each in heard] == [each.payload for each in sent]


async def test_story_without_a_broker_says_where_it_looked() -> None:
    access = Access.from_url("mqtt://127.0.0.1:1", client_id="homes")

    with pytest.raises(BrokerGone, match=r"no broker at 127\.0\.0\.1:1"):
        async with BatchedClient(access, filters=[]):
            pass


def test_history_begins_three_weeks_before_the_evening() -> None:
    assert from_epoch(to_epoch(START)) - three_weeks_before(START) == timedelta(days=21)

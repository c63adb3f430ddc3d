"""``vpp gateway check`` against the simulated gateway, and against gateways that each get one thing wrong."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from simulators.powerwall import Gateway
from tests.simulation.gateways import BOOTED, HOME_KEY, STRANGER, a_gateway
from vpp.adapters.clock import SteppedClock
from vpp.adapters.embedded_broker import EmbeddedBroker
from vpp.adapters.keys import FileKeys
from vpp.adapters.memory.broker import MemoryBroker, MemoryTransport
from vpp.adapters.mqtt import Access, MqttTransport
from vpp.domain.command import Refusal
from vpp.domain.delivery import MeterReceipt
from vpp.domain.interval import from_epoch, to_epoch
from vpp.entrypoints.cli import app
from vpp.entrypoints.gateway_check import SENT_FROM, Subject, check_gateway
from vpp.entrypoints.operations.desk import Json
from vpp.ports import Packet, Transport
from vpp.wire.gateway import Ack, Command, encode_ack
from vpp.wire.signed import VerifyingKey, sign

SITE, SHARD = "check-1", "0a"
FAST = 15
"""Seconds that pass in one at a real broker: an answer has 0.7 s, on a busy machine too."""


class AnswersEverybody(Gateway):
    """Says why it dropped what nobody may be answered."""

    def on_message(self, packet: Packet, now_s: int) -> list[Packet]:
        body = json.loads(packet.payload.split(b"\n")[0])
        out = super().on_message(packet, now_s)
        if "sequence" in body and not any(each.topic.endswith("/ack") for each in out):
            pair = body["epoch"], body["sequence"]
            ack = Ack(SITE, body["event_id"], *pair, Refusal.BAD_PARAMETER, from_epoch(now_s))
            out.append(Packet(packet.topic.replace("command", "ack"), sign(encode_ack(ack), HOME_KEY, SITE)))
        return out


class ForgetsPairs(Gateway):
    """Keeps no highest pair."""

    def on_message(self, packet: Packet, now_s: int) -> list[Packet]:
        self._kept.highest.clear()
        self._booted_s = 0
        return super().on_message(packet, now_s)


class NeverStops(Gateway):
    """Holds a lease an hour longer than it says."""

    def _act(self, command: Command, body: bytes, out: list[Packet]) -> Refusal | None:
        later = replace(command, expires_at=command.expires_at + timedelta(hours=1))
        return super()._act(later, body, out)


class SaysYesAndDoesNothing(Gateway):
    """Accepts, and leaves the battery as it is."""

    def _act(self, command: Command, body: bytes, out: list[Packet]) -> Refusal | None:
        self._heed_event(command)
        self._kept.pair = (command.epoch, command.sequence)
        return None


class GivesHalf(Gateway):
    """Discharges half of what it is told."""

    def _act(self, command: Command, body: bytes, out: list[Packet]) -> Refusal | None:
        return super()._act(replace(command, discharge_w=command.discharge_w // 2), body, out)


class PausesAtEachRenewal(Gateway):
    """Stops when it is renewed, and begins again a little later."""

    def _act(self, command: Command, body: bytes, out: list[Packet]) -> Refusal | None:
        if self.inverter.discharging:
            self.inverter.stop()
            command = replace(command, starts_at=command.starts_at + timedelta(seconds=10))
        return super()._act(command, body, out)


class FreesAtOnce(Gateway):
    """Takes it that what was sent has arrived."""

    def _send_readings(self, out: list[Packet]) -> None:
        super()._send_readings(out)
        for buffer in self.buffers:
            buffer.confirm(MeterReceipt(SITE, buffer.boot_id, buffer.newest_index))


class HeedsNoReceipt(Gateway):
    """Never frees a reading."""

    def _on_receipt(self, packet: Packet) -> None:
        self.dropped["receipt"] += 1


class KnowsNoReserve(Gateway):
    """Discharges below every floor."""

    def _home_refusal(self, floor_permille: int) -> Refusal | None:
        refusal = super()._home_refusal(floor_permille)
        return None if refusal is Refusal.BELOW_RESERVE else refusal


class SignsAsSomebodyElse(Gateway):
    """Signs with a key that was never enrolled."""

    def connect(self, now_s: int) -> list[Packet]:
        self.identity = replace(self.identity, key=STRANGER)
        return super().connect(now_s)


class KeepsNoStatus(Gateway):
    """Says that it is there to those who listen just then."""

    def connect(self, now_s: int) -> list[Packet]:
        return [replace(each, retain=False) for each in super().connect(now_s)]


class ClockUnknown(Gateway):
    """Does not know how far its clock is off."""

    def connect(self, now_s: int) -> list[Packet]:
        self.clock_offset_ms = None
        return super().connect(now_s)


BROKEN: dict[type[Gateway], set[str]] = {
    AnswersEverybody: {"unsigned", "bad signature", "another site's"},
    ForgetsPairs: {"the same again", "out of order"},
    NeverStops: {"ends by itself"},
    SaysYesAndDoesNothing: {"below reserve", "power", "end is measured", "ends by itself"},
    GivesHalf: {"power"},
    PausesAtEachRenewal: {"power goes on"},
    FreesAtOnce: {"receipt"},
    HeedsNoReceipt: {"receipt"},
    KnowsNoReserve: {"below reserve"},
    SignsAsSomebodyElse: {"start", "messages"},
    KeepsNoStatus: {"status"},
    ClockUnknown: {"start", "status"},
}


def failed_in(found: Json) -> set[str]:
    checks: Any = found["checks"]
    return {each["check"] for each in checks if each["state"] == "failed"}


def a_home(kind: type[Gateway], keys: FileKeys, now_s: int = BOOTED) -> Gateway:
    home = a_gateway(site_id=SITE, kind=kind)
    home.controller_keys = {keys.kid: VerifyingKey(keys.public_key)}
    home.advance(now_s)
    return home


SUBJECT = Subject(SITE, SHARD, HOME_KEY.verifying_key)
HEARD = [SUBJECT.topic(kind) for kind in SENT_FROM]


async def checked(kind: type[Gateway], folder: Path, *, control: bool = True) -> Json:
    """Return what is found of a gateway in virtual time."""
    keys, clock, broker = FileKeys(folder), SteppedClock(from_epoch(BOOTED)), MemoryBroker()
    home = a_home(kind, keys)
    async with MemoryTransport(broker, SITE, filters=home.topics_heard) as theirs:
        await theirs.send(home.connect(BOOTED))
        ours = await MemoryTransport(broker, "check", filters=HEARD).__aenter__()

        async def pause(_seconds: float) -> None:
            now_s = to_epoch(clock.now())
            for packet in theirs.received_now():
                await theirs.send(home.on_message(packet, now_s))
            clock.step_to(clock.now() + timedelta(seconds=1))
            await theirs.send(home.advance(now_s + 1))
            await asyncio.sleep(0)

        return await check_gateway(SUBJECT, ours, keys if control else None, clock=clock, pause=pause)


async def test_the_simulated_gateway_does_all_that_is_asked(tmp_path: Path) -> None:
    found = await checked(Gateway, tmp_path)

    checks: Any = found["checks"]
    assert [each for each in checks if each["state"] != "passed"] == []
    assert found["passed"]
    assert len(checks) == 25


@pytest.mark.parametrize("kind", list(BROKEN), ids=lambda kind: kind.__name__)
async def test_whoever_gets_one_thing_wrong_is_found(kind: type[Gateway], tmp_path: Path) -> None:
    found = await checked(kind, tmp_path)

    assert failed_in(found) >= BROKEN[kind]
    assert not found["passed"]


async def test_without_control_nothing_is_sent(tmp_path: Path) -> None:
    found = await checked(Gateway, tmp_path, control=False)

    checks: Any = found["checks"]
    assert [each["check"] for each in checks] == ["status", "telemetry", "readings", "messages"]
    assert found["passed"]
    assert found["controller_key"] is None


class FastClock:
    """Time that runs faster than the machine's."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def now(self) -> datetime:
        return from_epoch(BOOTED) + FAST * timedelta(seconds=time.monotonic() - self._began)


@asynccontextmanager
async def a_connection(broker: EmbeddedBroker, name: str, filters: list[str]) -> AsyncIterator[MqttTransport]:
    access = Access.from_url(broker.url, client_id=name)
    async with MqttTransport(access, filters=filters, jitter=lambda: 0.5) as transport:
        await asyncio.wait_for(transport.wait_connected(), 20)
        yield transport


async def live(home: Gateway, transport: Transport, clock: FastClock) -> None:
    while True:
        for packet in transport.received_now():
            await transport.send(home.on_message(packet, to_epoch(clock.now())))
        await transport.send(home.advance(to_epoch(clock.now())))
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(("kind", "fails"), [(Gateway, set()), (NeverStops, {"ends by itself"})])
async def test_both_are_told_apart_over_a_real_broker(
    kind: type[Gateway], fails: set[str], tmp_path: Path
) -> None:
    keys, clock = FileKeys(tmp_path), FastClock()
    home = a_home(kind, keys)
    async with (
        EmbeddedBroker() as broker,
        a_connection(broker, SITE, list(home.topics_heard)) as theirs,
    ):
        await theirs.send(home.connect(to_epoch(clock.now())))
        await theirs.flush()
        life = asyncio.create_task(live(home, theirs, clock))
        async with a_connection(broker, "check", HEARD) as ours:
            found = await check_gateway(
                SUBJECT, ours, keys, clock=clock, pause=lambda seconds: asyncio.sleep(seconds / FAST)
            )
        life.cancel()

    assert failed_in(found) == fails


KEY = HOME_KEY.verifying_key.text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["s-7f3a", "--gateway-key", KEY], "does not begin with check-"),
        ([SITE, "--gateway-key", KEY, "--control"], "needs --key-dir"),
        ([SITE, "--gateway-key", KEY, "--control", "--key-dir", "STATE"], "holds the controller's own key"),
        (
            [SITE, "--gateway-key", KEY, "--control", "--key-dir", "OWN", "--broker", "mqtt://10.0.0.9"],
            "--confirm check-1 says that you mean it",
        ),
        ([SITE, "--gateway-key", "no-key"], "is not base64url of 32 bytes"),
        ([SITE, "--gateway-key", KEY, "--shard", "xyz"], "is not two hex digits"),
    ],
)
def test_a_home_in_service_cannot_be_meant_by_mistake(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VPP_STATE_DIR", str(tmp_path))
    FileKeys(tmp_path)
    folders = {"STATE": str(tmp_path), "OWN": str(tmp_path / "own")}

    ended = CliRunner().invoke(app, ["gateway", "check", *(folders.get(word, word) for word in words)])

    assert ended.exit_code == 2
    assert says in " ".join(ended.stderr.split())

"""A simulated grid operator signs, and repeats itself until it is answered."""

import argparse
import asyncio
import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from simulators.__main__ import command_line
from simulators.grid import (
    Operator,
    make_key_file,
    notification_of,
    read_key_file,
    send_until_received,
)
from simulators.home_files import UnusableFile
from vpp.adapters.embedded_broker import EmbeddedBroker
from vpp.adapters.mqtt import Access, MqttTransport
from vpp.domain.grid_event import Operation, Receipt, ReceiptState, Signal
from vpp.ports import Packet
from vpp.wire.openadr import decode_notification, encode_receipt
from vpp.wire.signed import SigningKey, sign, split, verify

NOW = datetime(2026, 9, 10, 0, 52, tzinfo=UTC)
CONTROLLER = SigningKey(bytes(range(32)))
SOURCE = SigningKey(bytes(range(1, 33)))
OPERATOR = Operator("caiso", SOURCE, {"vpp-1": CONTROLLER.verifying_key})


def words(*more: str) -> argparse.Namespace:
    return command_line().parse_args(["grid", "--broker", "mqtt://127.0.0.1", "--source", "caiso", *more])


def an_answer(event_id: str, *, key: SigningKey = CONTROLLER) -> Packet:
    receipt = Receipt("caiso", event_id, Operation.CREATE, NOW, ReceiptState.ACCEPTED, None, NOW)
    return Packet(OPERATOR.receipt_topic, sign(encode_receipt(receipt), key, "vpp-1"))


def test_emergency_on_the_command_line_becomes_a_signal() -> None:
    body = notification_of(
        words("--emergency", "EEA 3", "--kw", "500", "--minutes", "120", "--event-id", "ev-9"), NOW
    )

    signal = decode_notification(body, source="caiso")

    assert isinstance(signal, Signal)
    assert (signal.event_id, signal.modified_at) == ("ev-9", NOW)
    assert [(step.duration_s, step.power) for step in signal.steps] == [(7200, 500_000)]


def test_cancel_on_the_command_line_becomes_a_deletion() -> None:
    body = notification_of(words("--emergency", "over", "--operation", "DELETE", "--event-id", "ev-9"), NOW)

    signal = decode_notification(body, source="caiso")

    assert isinstance(signal, Signal)
    assert signal.operation is Operation.DELETE


def test_notification_file_is_sent_on_one_line(tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    file.write_text(json.dumps({"objectType": "EVENT", "object": {"id": "ev-1"}}, indent=2))

    assert b"\n" not in notification_of(words("--event", str(file)), NOW)


def test_missing_notification_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match=r"none\.json"):
        notification_of(words("--event", str(tmp_path / "none.json")), NOW)


def test_key_file_is_private_and_reads_back(tmp_path: Path) -> None:
    public = make_key_file(tmp_path / "caiso.key")

    assert stat.S_IMODE((tmp_path / "caiso.key").stat().st_mode) == 0o600
    assert read_key_file(tmp_path / "caiso.key").verifying_key == public


def test_signal_carries_the_operators_signature() -> None:
    packet = OPERATOR.packet(b'{"objectType":"EVENT"}')

    assert packet.topic == "grid/v1/caiso/event"
    message = split(packet.payload, max_bytes=16_384)
    assert (message.kid, verify(message, SOURCE.verifying_key)) == ("caiso", b'{"objectType":"EVENT"}')


def test_receipt_of_a_stranger_is_passed_over() -> None:
    assert OPERATOR.receipt(an_answer("ev-1", key=SOURCE)) is None
    assert OPERATOR.receipt(an_answer("ev-1")) is not None


async def test_signal_is_sent_again_until_its_receipt_comes() -> None:
    body = json.dumps({"objectType": "EVENT", "operation": "CREATE", "object": {"id": "ev-1"}}).encode()
    async with (
        EmbeddedBroker() as broker,
        MqttTransport(_access(broker, "grid"), filters=[OPERATOR.receipt_topic], jitter=_never) as grid,
        MqttTransport(_access(broker, "vpp"), filters=["grid/v1/+/event"], jitter=_never) as controller,
        asyncio.timeout(30),
    ):
        await grid.wait_connected()
        await controller.wait_connected()
        sending = asyncio.create_task(send_until_received(OPERATOR, body, grid, resend_after_s=0.2))
        heard: list[Packet] = []
        while len(heard) < 2:
            heard.extend(await controller.receive())
        await controller.send([an_answer("ev-other"), an_answer("ev-1")])

        receipt = await sending

    assert receipt.event_id == "ev-1"
    assert heard[0] == heard[1]


def _access(broker: EmbeddedBroker, client_id: str) -> Access:
    return Access.from_url(broker.url, client_id=client_id)


def _never() -> float:
    return 0.0

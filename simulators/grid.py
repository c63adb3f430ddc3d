"""A grid operator: signs OpenADR notifications, publishes them, and sends again until a receipt comes."""

import argparse
import asyncio
import json
import os
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from secrets import token_bytes, token_hex

from simulators.home_files import UnusableFile, read_controller_key
from vpp.adapters.clock import WallClock
from vpp.adapters.mqtt import Access, MqttTransport
from vpp.domain.grid_event import Operation, Receipt, ReceiptState
from vpp.domain.interval import whole_second
from vpp.ports import Packet
from vpp.wire.gateway import GridKind, GridTopic, topic
from vpp.wire.openadr import Ask, decode_receipt, encode_notification
from vpp.wire.signed import BadSignature, NotAKey, SigningKey, VerifyingKey, sign, split, verify
from vpp.wire.strict_json import GATEWAY_MESSAGE_BYTES, MalformedMessage

RESEND_AFTER_S = 5.0


def make_key_file(path: Path) -> VerifyingKey:
    """Write a new private key, readable by this user alone, and return its public key."""
    key = SigningKey(token_bytes(32))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(urlsafe_b64encode(key.seed).rstrip(b"=") + b"\n")
    return key.verifying_key


def read_key_file(path: Path) -> SigningKey:
    """Return the private key that ``make_key_file`` wrote. Raises UnusableFile."""
    try:
        return SigningKey(urlsafe_b64decode(path.read_text().strip() + "="))
    except FileNotFoundError as missing:
        raise UnusableFile(f"no {path}; make it with: python -m simulators keygen --out {path}") from missing
    except (ValueError, NotAKey) as wrong:
        raise UnusableFile(f"{path} is not a key that 'python -m simulators keygen' wrote") from wrong


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who signals: a name, a key (None signs nothing), and whose receipts are believed."""

    source: str
    key: SigningKey | None
    controller_keys: Mapping[str, VerifyingKey] | None = None

    def packet(self, body: bytes) -> Packet:
        """Return a notification ready for the broker."""
        payload = body if self.key is None else sign(body, self.key, self.source)
        return Packet(topic(GridTopic(self.source, GridKind.EVENT)), payload)

    @property
    def receipt_topic(self) -> str:
        """Return where the controller answers."""
        return topic(GridTopic(self.source, GridKind.RECEIPT))

    def receipt(self, packet: Packet) -> Receipt | None:
        """Return the receipt in a packet, or None when it is none, or signed by nobody we believe."""
        try:
            message = split(packet.payload, max_bytes=GATEWAY_MESSAGE_BYTES)
            if self.controller_keys is not None:
                key = self.controller_keys.get(message.kid)
                if key is None:
                    return None
                verify(message, key)
            return decode_receipt(message.body, source=self.source)
        except (MalformedMessage, BadSignature):
            return None


async def send_until_received(
    operator: Operator, body: bytes, transport: MqttTransport, *, resend_after_s: float = RESEND_AFTER_S
) -> Receipt:
    """Publish a notification, again and again, until its receipt comes; return that."""
    event_id = json.loads(body)["object"]["id"]
    operation = json.loads(body)["operation"]
    while True:
        await transport.send([operator.packet(body)])
        try:
            async with asyncio.timeout(resend_after_s):
                while True:
                    for packet in await transport.receive():
                        receipt = operator.receipt(packet)
                        if receipt and (receipt.event_id, receipt.operation.value) == (event_id, operation):
                            return receipt
        except TimeoutError:
            continue


def notification_of(arguments: argparse.Namespace, now: datetime) -> bytes:
    """Return the notification that the command line describes, as one line."""
    if arguments.event is not None:
        try:
            return json.dumps(json.loads(arguments.event.read_bytes()), separators=(",", ":")).encode()
        except FileNotFoundError as missing:
            raise UnusableFile(f"no {arguments.event}; it should hold an OpenADR notification") from missing
        except ValueError as wrong:
            raise UnusableFile(f"{arguments.event} is not JSON") from wrong
    at = whole_second(now)
    starts_at = at + timedelta(minutes=arguments.in_minutes)
    ask = Ask(
        duration_s=60 * arguments.minutes,
        level=arguments.level,
        power_w=None if arguments.kw is None else round(1000 * arguments.kw),
        alert=arguments.emergency,
    )
    operation = Operation(arguments.operation)
    return encode_notification(
        operation,
        event_id=arguments.event_id or f"ev-{at:%Y-%m-%d-%H%M%S}",
        program_id=arguments.program,
        name=arguments.emergency or "",
        created_at=at,
        modified_at=at,
        asks=() if operation is Operation.DELETE else (ask,),
        starts_at=starts_at,
        priority=arguments.priority,
        targets=arguments.target,
    )


def add_grid_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of the grid operator."""
    parser.add_argument("--broker", required=True, help="mqtt[s]://[user:password@]host:port")
    parser.add_argument("--source", required=True, help="name under which 'vpp source add' knows it")
    parser.add_argument("--key", type=Path, help="private key file; without it the signal is not signed")
    parser.add_argument("--controller-key", help="KID:BASE64URL; receipts of others are passed over")
    parser.add_argument("--controller-key-file", type=Path, help="output of 'vpp keys show --json'")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--event", type=Path, metavar="FILE", help="an OpenADR 3.1 notification as JSON")
    what.add_argument("--emergency", metavar="TEXT", help="make a notification with this alert text")
    parser.add_argument("--program", default="elrp-a4-pge")
    parser.add_argument("--event-id", help="default: ev- and the present time")
    parser.add_argument("--operation", choices=[each.value for each in Operation], default="CREATE")
    parser.add_argument("--kw", type=float, help="fleet discharge; without it all that can be sustained")
    parser.add_argument("--level", type=int, default=3, help="SIMPLE level")
    parser.add_argument("--in-minutes", type=int, default=2, help="start, from now")
    parser.add_argument("--minutes", type=int, default=60, help="length")
    parser.add_argument("--priority", type=int)
    parser.add_argument("--target", action="append", default=[])
    parser.add_argument("--wait", type=float, default=60.0, help="seconds to wait for the receipt")


async def run_grid(arguments: argparse.Namespace) -> int:
    """Send one signal, print its receipt as one line of JSON, and return the exit code."""
    key = None if arguments.key is None else read_key_file(arguments.key)
    pinned = None
    if arguments.controller_key or arguments.controller_key_file:
        pinned = read_controller_key(arguments.controller_key, arguments.controller_key_file)
    operator = Operator(arguments.source, key, pinned)
    body = notification_of(arguments, WallClock().now())
    access = Access.from_url(arguments.broker, client_id=f"{arguments.source}-{token_hex(4)}")
    access = replace(access, persistent=False)  # its name is never used again
    try:
        async with (
            asyncio.timeout(arguments.wait),
            MqttTransport(access, filters=[operator.receipt_topic], jitter=Random().random) as transport,
        ):
            await transport.wait_connected()
            receipt = await send_until_received(operator, body, transport)
    except TimeoutError:
        sys.stderr.write(
            f"no receipt within {arguments.wait:g} s; is 'vpp serve' running and the source added?\n"
        )
        return 1
    shown = {"event_id": receipt.event_id, "state": receipt.state.value, "reason": receipt.reason}
    sys.stdout.write(json.dumps(shown) + "\n")
    return 1 if receipt.state is ReceiptState.REJECTED else 0

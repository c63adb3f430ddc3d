"""Every parser of the wires, with well-formed samples of what it reads, and how it may refuse the rest."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.wire.openadr_world import NOTIFICATION
from tests.wire.test_enrollment_file import a_file, a_row
from tests.wire.test_evidence import TEN_DAYS, a_foreign_bundle, a_meter, an_evening_history
from tests.wire.test_gateway import ACCEPTED, BOOT, DISCHARGE, READINGS, SAMPLE
from vpp.domain.delivery import MeterReceipt
from vpp.domain.grid_event import Operation, Receipt, ReceiptState
from vpp.wire.enrollment_file import METER_ACCURACY, OTHER_PROGRAMS, BadEnrollmentFile, read_enrollments
from vpp.wire.evidence import read_bundle, recompute
from vpp.wire.evidence_check import verify_bundle, write_bundle
from vpp.wire.gateway import (
    Online,
    Status,
    UnknownTopic,
    command_key,
    decode_ack,
    decode_command,
    decode_status,
    encode_ack,
    encode_command,
    encode_status,
    parse_topic,
)
from vpp.wire.gateway_meter import decode_meter, decode_receipt, encode_meter, encode_receipt
from vpp.wire.gateway_telemetry import decode_telemetry, decode_telemetry_row, encode_telemetry
from vpp.wire.home_assistant import decode_switch
from vpp.wire.ledger_file import read_payments
from vpp.wire.meter_file import read_meter_csv, read_meter_file
from vpp.wire.mqtt_frames import FrameReader, NotMqtt
from vpp.wire.nacha import read_accounts
from vpp.wire.openadr import decode_notification, refuse_notification
from vpp.wire.openadr import decode_receipt as decode_signal_receipt
from vpp.wire.openadr import encode_receipt as encode_signal_receipt
from vpp.wire.price_file import read_prices
from vpp.wire.program_file import ProgramFileError, read_program
from vpp.wire.signed import BadSignature, SigningKey, sign, split, verify
from vpp.wire.strict_json import MalformedMessage
from vpp.wire.table import BadFile

NOW = datetime(2026, 9, 10, 6, tzinfo=UTC)
SITE = SAMPLE.site_id
KEY = SigningKey(bytes(range(32)))
PROGRAMS = Path(__file__).parents[2] / "config" / "programs"


@dataclass(frozen=True, slots=True)
class Parser:
    """One reader of bytes from outside. ``share`` is its part of all inputs; the slow ones get fewer.

    What is not ``stored`` is only shown, and may hold any text.
    """

    name: str
    read: Callable[[bytes], object]
    samples: tuple[bytes, ...]
    refusals: tuple[type[Exception], ...] = ()
    share: int = 40
    stored: bool = True


def _signed(message: bytes) -> object:
    return verify(split(message, max_bytes=16_384), KEY.verifying_key)


def _frames(stream: bytes) -> object:
    reader = FrameReader()
    return [reader.read(stream[at : at + 7]) for at in range(0, len(stream), 7)]


def _utf8(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """Return a reader of bytes from one of texts, which gets what a decoder makes of anything."""
    return lambda content: read(content.decode("utf-8", "replace"))


@cache
def small_bundle() -> Mapping[str, bytes]:
    """Return the signed bundle of one home that is read once an hour."""
    hourly = a_meter(an_evening_history((4_500, 4_400, 1_900), TEN_DAYS), every_s=3_600)
    bundle = read_bundle(a_foreign_bundle({"one": hourly}))
    return write_bundle(
        bundle,
        recompute(bundle).lines,
        chain_head="ab" * 32,
        sign=lambda body: sign(body, KEY, "vpp-test"),
        signer=("vpp-test", KEY.verifying_key.text),
    )


def _bundle_with(name: str) -> Callable[[bytes], object]:
    bundle = small_bundle()
    return lambda content: verify_bundle({**bundle, name: content}).as_json()


def parsers() -> tuple[Parser, ...]:
    """Return all of them."""
    return (*_of_gateways(), *_of_the_grid(), *_of_files(), *_of_bundles())


def _of_gateways() -> tuple[Parser, ...]:
    malformed = (MalformedMessage,)
    status = Status(SITE, Online(NOW, BOOT, 1_789_002_000, 120_045, "24.36", 12))
    topics = tuple(f"vpp/v1/0a/{SITE}/{kind}".encode() for kind in ("command", "ack", "meter", "status"))
    samples = (encode_telemetry(SAMPLE), encode_telemetry(replace(SAMPLE, fault="inverter")))
    commands = (encode_command(DISCHARGE),)
    publish = b"\x30\x0b\x00\x03a/bpayload\x32\x08\x00\x03a/b\x00\x07x"
    return (
        Parser("topic", _utf8(parse_topic), (*topics, b"grid/v1/caiso/event"), (UnknownTopic,)),
        Parser("command", lambda body: decode_command(body, site_id=SITE), commands, malformed),
        Parser("command key", command_key, commands),
        Parser(
            "acknowledgement", lambda body: decode_ack(body, site_id=SITE), (encode_ack(ACCEPTED),), malformed
        ),
        Parser("status", lambda body: decode_status(body, site_id=SITE), (encode_status(status),), malformed),
        Parser(
            "telemetry",
            lambda body: decode_telemetry(body, site_id=SITE),
            samples,
            malformed,
        ),
        Parser(
            "telemetry, quickly",
            lambda body: decode_telemetry_row(body, site_id=SITE),
            samples,
            malformed,
        ),
        Parser("meter", lambda body: decode_meter(body, site_id=SITE), (encode_meter(READINGS),), malformed),
        Parser(
            "meter receipt",
            lambda body: decode_receipt(body, site_id=SITE),
            (encode_receipt(MeterReceipt(SITE, BOOT, 1_042)),),
            malformed,
        ),
        Parser("MQTT frames", _frames, (publish, b"\xd0\x00" + publish), (NotMqtt,)),
        Parser("switch at home", lambda payload: decode_switch(f"vpp/{SITE}/opt-out/set", payload), (b"ON",)),
    )


def _of_the_grid() -> tuple[Parser, ...]:
    notification = json.dumps(NOTIFICATION).encode()
    delete = json.dumps({**NOTIFICATION, "operation": "DELETE"}).encode()
    receipt = Receipt("caiso", "ev-1", Operation.CREATE, NOW, ReceiptState.REJECTED, "cancelled", NOW)
    return (
        Parser(
            "signal",
            lambda body: decode_notification(body, source="caiso"),
            (notification, delete),
            share=120,
        ),
        Parser(
            "signal of a stranger",
            lambda body: refuse_notification(body, source="caiso", reason="a stranger"),
            (notification, delete),
        ),
        Parser(
            "signal receipt",
            lambda body: decode_signal_receipt(body, source="caiso"),
            (encode_signal_receipt(receipt),),
            (MalformedMessage,),
        ),
        Parser(
            "signed message", _signed, (sign(notification, KEY, "caiso"),), (MalformedMessage, BadSignature)
        ),
    )


def _of_files() -> tuple[Parser, ...]:
    optional = (OTHER_PROGRAMS, METER_ACCURACY)
    homes = a_file(
        *(a_row(site_id=f"s-{row}", other_programs="", meter_accuracy_pct="0.5") for row in range(3)),
        header=(*a_row(), *optional),
    )
    meter = small_bundle()["meter.csv"]
    prices = b"program_id,hour_starts_at,usd_per_mwh\ndsgs-3,2026-09-09T23:00:00Z,250.10\n"
    payments = b"program_id,period,reference,paid\nelrp-a4-pge,ev-1,wire 7,1773.86\n"
    accounts = b"owner_id,name,routing,account,kind\no-1,Ada Byron,021000021,12345678,checking\n"
    programs = tuple(path.read_bytes() for path in sorted(PROGRAMS.glob("*.toml")))
    bad = (BadFile,)
    zones = {"dsgs-3": ZoneInfo("America/Los_Angeles")}
    return (
        Parser(
            "enrolment file",
            lambda content: read_enrollments(content, now=NOW, file_name="sites.csv"),
            (homes,),
            (BadEnrollmentFile,),
        ),
        Parser(
            "meter file",
            lambda content: read_meter_file(content, now=NOW, file_name="m"),
            (meter,),
            (BadFile,),
        ),
        Parser("meter.csv", lambda content: read_meter_csv(content), (meter,), bad),
        Parser(
            "price file",
            lambda content: read_prices(content, file_name="p", zones=zones),
            (prices,),
            bad,
        ),
        Parser("payments", lambda content: read_payments(content, file_name="p"), (payments,), bad),
        Parser(
            "bank accounts", lambda content: read_accounts(content, file_name="a"), (accounts,), (BadFile,)
        ),
        Parser(
            "program file",
            _utf8(lambda text: read_program(text, file_name="p")),
            programs,
            (ProgramFileError,),
            share=3,
        ),
    )


def _of_bundles() -> tuple[Parser, ...]:
    bundle = small_bundle()
    return tuple(
        Parser(f"bundle: {name}", _bundle_with(name), (content,), (BadFile,), share=1, stored=False)
        for name, content in bundle.items()
    )


def unstorable(value: object) -> str | None:
    """Return a text inside a value that no database stores: with NUL, or half of a character."""
    if isinstance(value, str):
        bad = "\x00" in value or any("\ud800" <= each <= "\udfff" for each in value)
        return repr(value) if bad else None
    if is_dataclass(value):
        parts: list[object] = [getattr(value, each.name) for each in fields(value)]
    elif isinstance(value, dict):
        parts = [*value, *value.values()]
    elif isinstance(value, tuple | list):
        parts = list(value)
    else:
        return None
    return next((found for part in parts if (found := unstorable(part)) is not None), None)

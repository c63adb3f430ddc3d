"""Commands, acknowledgements and status between controller and gateway, and the topics of all messages.

Encodes and decodes for both sides: the controller and any gateway written in Python. Signing is
``signed.py``; telemetry and meter bodies are ``gateway_telemetry.py`` and ``gateway_meter.py``.
"""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from vpp.domain.command import Action, CommandBatch, Refusal
from vpp.domain.enrollment import NotASiteId, require_site_id
from vpp.domain.quantities import Permille, Watts
from vpp.wire.strict_json import (
    GATEWAY_MESSAGE_BYTES,
    JsonObject,
    MalformedMessage,
    encode,
    optional_integer,
    parse,
    percent,
    require_flag,
    require_integer,
    require_permille,
    require_schema,
    require_text,
    require_time,
    time_text,
)

MIN_DISCHARGE_W = 500
MAX_SITE_W = 1_000_000  # far above any home; a larger number is a mistaken unit
# Interpretation: the protocol names no upper limit. But the power of a lease may flow on past its expiry
# for the spread and the ramp, so without one the thirty minutes of `lease_too_long` would bound nothing.
MAX_SPREAD_S = 3600
MAX_RAMP_S = 3600
MAX_CLOCK_OFFSET_MS = 10**12

_BOOT_ID = re.compile(r"[0-9A-Za-z_-]{16,64}")  # hex, UUID and base64url all hold 128 random bits
_SHARD = re.compile(r"[0-9a-f]{2}")
_SOURCE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class GatewayKind(StrEnum):
    """What travels between a gateway and the controller."""

    COMMAND = "command"
    ACK = "ack"
    TELEMETRY = "telemetry"
    METER = "meter"
    RECEIPT = "receipt"
    STATUS = "status"


class GridKind(StrEnum):
    """What travels between a grid operator and the controller."""

    EVENT = "event"
    RECEIPT = "receipt"


FROM_GATEWAYS = (GatewayKind.ACK, GatewayKind.TELEMETRY, GatewayKind.METER, GatewayKind.STATUS)
"""What the controller listens to."""

_GATEWAY_KIND = {kind.value: kind for kind in GatewayKind}
_GRID_KIND = {kind.value: kind for kind in GridKind}


_COMMAND_FIELDS = frozenset(
    (
        "schema", "site_id", "event_id", "epoch", "sequence", "action", "discharge_w", "reserve_floor_pct",
        "issued_at", "starts_at", "expires_at", "event_ends_at", "ramp_s", "spread_s", "test",
    )
)  # fmt: skip
_ACK_FIELDS = frozenset(("schema", "site_id", "event_id", "epoch", "sequence", "state", "reason", "at"))
_STATUS_FIELDS = frozenset(
    (
        "schema", "site_id", "state", "at", "boot_id", "epoch", "sequence", "firmware", "clock_offset_ms",
    )
)  # fmt: skip


class UnknownTopic(ValueError):
    """A topic that is none of ours."""


@dataclass(frozen=True, slots=True)
class GatewayTopic:
    """``vpp/v1/{shard}/{site_id}/{kind}``."""

    shard: str
    site_id: str
    kind: GatewayKind


@dataclass(frozen=True, slots=True)
class GridTopic:
    """``grid/v1/{source}/{kind}``."""

    source: str
    kind: GridKind


def topic(name: GatewayTopic | GridTopic) -> str:
    """Return the MQTT topic of a message."""
    if isinstance(name, GatewayTopic):
        return f"vpp/v1/{name.shard}/{name.site_id}/{name.kind}"
    return f"grid/v1/{name.source}/{name.kind}"


def parse_topic(text: str) -> GatewayTopic | GridTopic:
    """Return what a topic names; the inverse of ``topic``.

    Raises:
        UnknownTopic: The text is no topic of this protocol.
    """
    match text.split("/"):
        case ["vpp", "v1", shard, site_id, kind] if kind in _GATEWAY_KIND and _SHARD.fullmatch(shard):
            try:
                return GatewayTopic(shard, require_site_id(site_id), _GATEWAY_KIND[kind])
            except NotASiteId as refused:
                raise UnknownTopic(str(refused)) from None
        case ["grid", "v1", source, kind] if kind in _GRID_KIND and _SOURCE.fullmatch(source):
            return GridTopic(source, _GRID_KIND[kind])
    raise UnknownTopic(f"{text[:80]!r} is no topic of this protocol")


def gateway_filters() -> tuple[str, ...]:
    """Return the topic filters under which a controller hears every gateway."""
    return tuple(f"vpp/v1/+/+/{kind}" for kind in FROM_GATEWAYS)


def controller_filters() -> tuple[str, ...]:
    """Return the topic filters under which a controller hears every gateway and grid operator."""
    return (*gateway_filters(), f"grid/v1/+/{GridKind.EVENT}")


class WrongSite(MalformedMessage):
    """A body names another site than its topic does."""


def read_body(payload: bytes, schema: str, site_id: str | None) -> JsonObject:
    """Return a message's parsed body after its schema and site were compared with the topic.

    Raises:
        WrongSite: The body names another site; with ``site_id`` None the caller compares.
        MalformedMessage: The payload is no strict JSON of at most 4,096 bytes, or of another schema.
    """
    body = parse(payload, max_bytes=GATEWAY_MESSAGE_BYTES)
    require_schema(body, schema)
    if site_id is not None and body.get("site_id") != site_id:
        raise WrongSite("wrong_site")
    return body


def require_boot_id(body: JsonObject) -> str:
    """Return the 128 random bits that a gateway draws at each boot, in whatever letters it writes them."""
    boot_id = body.get("boot_id")
    if type(boot_id) is not str or not _BOOT_ID.fullmatch(boot_id):
        raise MalformedMessage("boot_id is not 16-64 letters, digits, '-' or '_'")
    return boot_id


def count_unknown(body: JsonObject, known: frozenset[str], unknown: Counter[str] | None, kind: str) -> None:
    """Count fields this schema does not have. Names are not kept: a sender could invent millions."""
    if unknown is not None and not known.issuperset(body):
        unknown[kind] += len(body.keys() - known)


@dataclass(frozen=True, slots=True)
class Command:
    """A lease on one battery, or its end. ``discharge_w`` is battery output at the inverter."""

    site_id: str
    event_id: str
    epoch: int
    sequence: int
    action: Action
    discharge_w: Watts
    reserve_floor_permille: Permille
    issued_at: datetime
    starts_at: datetime
    expires_at: datetime
    event_ends_at: datetime
    ramp_s: int
    spread_s: int
    test: bool


def encode_command(command: Command) -> bytes:
    """Return the body of a command; equal commands give equal bytes, for ever."""
    return encode(
        {
            "schema": "vpp.command/1",
            "site_id": command.site_id,
            "event_id": command.event_id,
            "epoch": command.epoch,
            "sequence": command.sequence,
            "action": command.action.value,
            "discharge_w": command.discharge_w,
            "reserve_floor_pct": percent(command.reserve_floor_permille),
            "issued_at": time_text(command.issued_at),
            "starts_at": time_text(command.starts_at),
            "expires_at": time_text(command.expires_at),
            "event_ends_at": time_text(command.event_ends_at),
            "ramp_s": command.ramp_s,
            "spread_s": command.spread_s,
            "test": command.test,
        }
    )


def command_of(batch: CommandBatch, row: int, site_id: str) -> Command:
    """Return the command of one row of a batch."""
    order = batch.order
    release = order.action is Action.RELEASE
    return Command(
        site_id=site_id,
        event_id=order.event_id,
        epoch=batch.epoch,
        sequence=batch.sequence,
        action=order.action,
        discharge_w=Watts(0 if release else int(batch.setpoint_w[row])),
        reserve_floor_permille=Permille(int(batch.reserve_floor_permille[row])),
        issued_at=batch.issued_at,
        starts_at=order.starts_at,
        expires_at=order.expires_at,
        event_ends_at=order.event_ends_at,
        ramp_s=0 if release else order.ramp_s,
        spread_s=0 if release else order.spread_s,
        test=order.test,
    )


def command_body(batch: CommandBatch, row: int, site_id: str) -> bytes:
    """Return the exact body that a committed row is sent as, today or years later."""
    return encode_command(command_of(batch, row, site_id))


def decode_command(payload: bytes, *, site_id: str | None, unknown: Counter[str] | None = None) -> Command:
    """Return the command of a verified body, for the gateway.

    Raises:
        WrongSite: The body names another site than the topic; with ``site_id`` None the caller compares.
        MalformedMessage: Anything else; ``command_key`` says whether it can be refused by name.
    """
    body = read_body(payload, "vpp.command/1", site_id)
    action = require_text(body, "action")
    if action not in (Action.DISCHARGE.value, Action.RELEASE.value):
        raise MalformedMessage("action is neither discharge nor release")
    releases = action == Action.RELEASE.value
    command = Command(
        site_id=require_text(body, "site_id", longest=36),
        event_id=require_text(body, "event_id"),
        epoch=require_integer(body, "epoch", low=1),
        sequence=require_integer(body, "sequence", low=1),
        action=Action(action),
        discharge_w=Watts(
            require_integer(
                body,
                "discharge_w",
                low=0 if releases else MIN_DISCHARGE_W,
                high=0 if releases else MAX_SITE_W,
            )
        ),
        reserve_floor_permille=require_permille(body, "reserve_floor_pct"),
        issued_at=require_time(body, "issued_at"),
        starts_at=require_time(body, "starts_at"),
        expires_at=require_time(body, "expires_at"),
        event_ends_at=require_time(body, "event_ends_at"),
        ramp_s=require_integer(body, "ramp_s", high=0 if releases else MAX_RAMP_S),
        spread_s=require_integer(body, "spread_s", high=0 if releases else MAX_SPREAD_S),
        test=require_flag(body, "test"),
    )
    count_unknown(body, _COMMAND_FIELDS, unknown, GatewayKind.COMMAND)
    return command


def command_key(payload: bytes) -> tuple[str, int, int] | None:
    """Return (event id, epoch, sequence) of a body that is otherwise unusable, or None.

    A gateway refuses ``bad_parameter`` and ``unknown_key`` by name only where this can be read.
    """
    try:
        body = parse(payload, max_bytes=GATEWAY_MESSAGE_BYTES)
        # A zero names no command that could be taken, but it can be read: the sender is told.
        return (
            require_text(body, "event_id"),
            require_integer(body, "epoch"),
            require_integer(body, "sequence"),
        )
    except MalformedMessage:
        return None


@dataclass(frozen=True, slots=True)
class Ack:
    """What a gateway decided about a command; ``refusal`` None means accepted. Never proof of power."""

    site_id: str
    event_id: str
    epoch: int
    sequence: int
    refusal: Refusal | None
    at: datetime


_REFUSAL = {refusal.value: refusal for refusal in Refusal}


def encode_ack(ack: Ack) -> bytes:
    """Return the body of an acknowledgement, to be signed by the gateway."""
    return encode(
        {
            "schema": "vpp.ack/1",
            "site_id": ack.site_id,
            "event_id": ack.event_id,
            "epoch": ack.epoch,
            "sequence": ack.sequence,
            "state": "accepted" if ack.refusal is None else "rejected",
            "reason": None if ack.refusal is None else ack.refusal.value,
            "at": time_text(ack.at),
        }
    )


def decode_ack(payload: bytes, *, site_id: str, unknown: Counter[str] | None = None) -> Ack:
    """Return the acknowledgement of a verified body. Raises MalformedMessage."""
    body = read_body(payload, "vpp.ack/1", site_id)
    state = require_text(body, "state")
    reason = body.get("reason")
    if (state, reason) == ("accepted", None):
        refusal = None
    elif state == "rejected" and isinstance(reason, str) and reason in _REFUSAL:
        refusal = _REFUSAL[reason]
    else:
        raise MalformedMessage("state and reason do not fit together")
    ack = Ack(
        site_id=site_id,
        event_id=require_text(body, "event_id"),
        epoch=require_integer(body, "epoch", low=1),
        sequence=require_integer(body, "sequence", low=1),
        refusal=refusal,
        at=require_time(body, "at"),
    )
    count_unknown(body, _ACK_FIELDS, unknown, GatewayKind.ACK)
    return ack


@dataclass(frozen=True, slots=True)
class Online:
    """What a gateway says of itself when it connects. The pair names the command in force, 0 before any.

    ``clock_offset_ms`` is None, on the wire null, where the gateway knows nothing of its clock's error.
    Interpretation: the protocol has no word for that, and 0 would say that the clock is right.
    """

    at: datetime
    boot_id: str
    epoch: int
    sequence: int
    firmware: str
    clock_offset_ms: int | None


@dataclass(frozen=True, slots=True)
class Status:
    """A gateway's presence; ``online`` None is the word of its Will."""

    site_id: str
    online: Online | None


def encode_status(status: Status) -> bytes:
    """Return the body of a status message, or of the Will."""
    here = status.online
    if here is None:
        return encode({"schema": "vpp.status/1", "site_id": status.site_id, "state": "offline"})
    return encode(
        {
            "schema": "vpp.status/1",
            "site_id": status.site_id,
            "state": "online",
            "at": time_text(here.at),
            "boot_id": here.boot_id,
            "epoch": here.epoch,
            "sequence": here.sequence,
            "firmware": here.firmware,
            "clock_offset_ms": here.clock_offset_ms,
        }
    )


def decode_status(payload: bytes, *, site_id: str, unknown: Counter[str] | None = None) -> Status:
    """Return a gateway's presence. Raises MalformedMessage."""
    body = read_body(payload, "vpp.status/1", site_id)
    match require_text(body, "state"):
        case "offline":
            count_unknown(body, _STATUS_FIELDS, unknown, GatewayKind.STATUS)
            return Status(site_id, None)
        case "online":
            online = Online(
                at=require_time(body, "at"),
                boot_id=require_boot_id(body),
                epoch=require_integer(body, "epoch"),
                sequence=require_integer(body, "sequence"),
                firmware=require_text(body, "firmware"),
                clock_offset_ms=optional_integer(
                    body, "clock_offset_ms", low=-MAX_CLOCK_OFFSET_MS, high=MAX_CLOCK_OFFSET_MS
                ),
            )
            count_unknown(body, _STATUS_FIELDS, unknown, GatewayKind.STATUS)
            return Status(site_id, online)
        case _:
            raise MalformedMessage("state is neither online nor offline")

"""The wire to the gateways: batches of domain values on our side, signed packets on theirs.

What cannot be trusted is counted by topic kind and reason, and changes nothing. Whether a sample is
plausible, or a reading pays, is not decided here.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vpp.domain.command import AckBatch, Action, CommandBatch
from vpp.domain.delivery import MeterMessage, MeterReceipt, SiteStatus
from vpp.domain.enrollment import Enrollment
from vpp.domain.fleet import Roster, TelemetryBatch
from vpp.domain.interval import to_epoch
from vpp.domain.quantities import column
from vpp.ports import DeviceLink, Heard, Keys, Packet, Transport
from vpp.wire.gateway import (
    FROM_GATEWAYS,
    Ack,
    GatewayKind,
    GatewayTopic,
    UnknownTopic,
    command_body,
    decode_ack,
    decode_status,
    gateway_filters,
    parse_topic,
    topic,
)
from vpp.wire.gateway_meter import decode_meter, encode_receipt
from vpp.wire.gateway_telemetry import TELEMETRY_COLUMNS, decode_telemetry_row
from vpp.wire.signed import BadSignature, SignedMessage, VerifyingKey, split, verify
from vpp.wire.strict_json import GATEWAY_MESSAGE_BYTES, MalformedMessage

GATEWAY_FILTERS = gateway_filters()
"""What a controller of the whole fleet subscribes to."""

STOP_LANE, COMMAND_LANE, RECEIPT_LANE = 0, 1, 2
PROCESSORS = min(8, os.cpu_count() or 1)
WORTH_SHARING = 16  # signatures; fewer are checked before another thread has woken
SIGN_AT_ONCE = 250  # about 10 ms of signing between two looks at what else is due


class _Distrusted(Exception):
    """A packet is refused; the argument is the reason it is counted under."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """A message that says who signed it, on a topic of that site."""

    kind: GatewayKind
    site_no: int
    site: Enrollment
    message: SignedMessage


class GatewayLink(DeviceLink):
    """``ports.DeviceLink`` over a transport. ``unknown_fields`` counts fields of no schema by kind.

    ``unsent`` counts, by event, discharges that are committed and were not handed to the transport yet.
    """

    def __init__(self, transport: Transport, keys: Keys, roster: Roster) -> None:
        self.unknown_fields: Counter[str] = Counter()
        self.unsent: Counter[str] = Counter()
        self._transport = transport
        self._keys = keys
        self._roster = roster
        self._verifiers = ThreadPoolExecutor(PROCESSORS, thread_name_prefix="verify")

    def decode(self, packets: Sequence[Packet]) -> Heard:
        """Return what packets on gateway topics say; what cannot be trusted is only counted.

        A batch of 1,000 telemetry samples takes some 10 ms, of 1,000 signed messages 200 ms divided by the
        processors there are.
        """
        hearing = _Hearing()
        claims: list[_Claim] = []
        for packet in packets:
            kind = "unknown"
            try:
                name = _gateway_topic(packet.topic)
                kind = name.kind.value
                claim = self._take(packet, name, hearing)
                if claim is not None:
                    claims.append(claim)
            except _Distrusted as refused:
                hearing.refused[kind, str(refused)] += 1
            except MalformedMessage as malformed:
                hearing.refused[kind, malformed.reason] += 1
            hearing.received[kind] += 1
        for claim, signed in zip(claims, self._verify(claims), strict=True):
            try:
                self._believe(claim, signed, hearing)
            except MalformedMessage as malformed:
                hearing.refused[claim.kind.value, malformed.reason] += 1
        return hearing.heard()

    def _take(self, packet: Packet, name: GatewayTopic, hearing: "_Hearing") -> _Claim | None:
        """Read what needs no signature; return what does."""
        site_no, site = self._site(name)
        if name.kind is GatewayKind.STATUS:
            hearing.statuses.append(self._status(packet, site_no, site))
            return None
        if packet.retain:
            raise _Distrusted("retained")  # an old word of unknown age; only a status may be kept
        if name.kind is GatewayKind.TELEMETRY:
            row = decode_telemetry_row(packet.payload, site_id=site.site_id, unknown=self.unknown_fields)
            hearing.samples.append((site_no, *row))
            return None
        message = split(packet.payload, max_bytes=GATEWAY_MESSAGE_BYTES)
        if message.kid != site.site_id:
            raise _Distrusted("wrong_key_name")
        return _Claim(name.kind, site_no, site, message)

    def _verify(self, claims: Sequence[_Claim]) -> list[bool]:
        """Return which signatures are right; many are shared among the processors.

        Checking a signature leaves the interpreter's lock for nearly all of its time.
        """
        if len(claims) < WORTH_SHARING or PROCESSORS == 1:
            return [_is_signed(claim) for claim in claims]
        shares = [claims[place::PROCESSORS] for place in range(PROCESSORS)]
        signed = [False] * len(claims)
        for place, share in enumerate(self._verifiers.map(_are_signed, shares)):
            signed[place::PROCESSORS] = share
        return signed

    def _believe(self, claim: _Claim, signed: bool, hearing: "_Hearing") -> None:
        site_id, body = claim.site.site_id, claim.message.body
        if not signed:
            hearing.refused[claim.kind.value, "bad_signature"] += 1
        elif claim.kind is GatewayKind.ACK:
            hearing.acks.append(
                (claim.site_no, decode_ack(body, site_id=site_id, unknown=self.unknown_fields))
            )
        else:
            hearing.meter.append(decode_meter(body, site_id=site_id, unknown=self.unknown_fields))

    def _site(self, name: GatewayTopic) -> tuple[int, Enrollment]:
        if name.kind not in FROM_GATEWAYS:
            raise _Distrusted("not_from_a_gateway")
        site_no = self._roster.site_no_of.get(name.site_id)
        if site_no is None:
            raise _Distrusted("unknown_site")
        site = self._roster.enrollments[site_no]
        if name.shard != site.shard:
            raise _Distrusted("wrong_shard")
        if site.withdrawn_at is not None:
            raise _Distrusted("no_consent")
        return site_no, site

    def _status(self, packet: Packet, site_no: int, site: Enrollment) -> SiteStatus:
        status = decode_status(packet.payload, site_id=site.site_id, unknown=self.unknown_fields)
        here = status.online
        if here is None:
            return SiteStatus(site_no, False, packet.retain, None, 0, 0, None, None)
        return SiteStatus(
            site_no=site_no,
            online=True,
            retained=packet.retain,
            at=here.at,
            epoch=here.epoch,
            sequence=here.sequence,
            clock_offset_ms=here.clock_offset_ms,
            firmware=here.firmware,
        )

    async def command(self, batches: Sequence[CommandBatch]) -> None:
        """Sign and send one committed tick's commands, releases first, letting others run in between."""
        releases_first = sorted(batches, key=lambda batch: batch.order.action is not Action.RELEASE)
        left: Counter[str] = Counter()
        for batch in batches:
            if batch.order.action is Action.DISCHARGE:
                left[batch.order.event_id] += len(batch.order.site_no)
        self.unsent += left
        try:
            for batch in releases_first:
                lane = STOP_LANE if batch.order.action is Action.RELEASE else COMMAND_LANE
                sites = batch.order.site_no.tolist()
                for start in range(0, len(sites), SIGN_AT_ONCE):
                    rows = range(start, min(start + SIGN_AT_ONCE, len(sites)))
                    await self._transport.send([self._command(batch, row, sites[row], lane) for row in rows])
                    if lane == COMMAND_LANE:
                        sent = Counter({batch.order.event_id: len(rows)})
                        self.unsent, left = self.unsent - sent, left - sent
                    await asyncio.sleep(0)
        finally:
            self.unsent -= left  # where it could not be sent, nothing waits any more

    def _command(self, batch: CommandBatch, row: int, site_no: int, lane: int) -> Packet:
        site = self._roster.enrollments[site_no]
        body = command_body(batch, row, site.site_id)
        return self._packet(site, GatewayKind.COMMAND, body, lane)

    async def acknowledge(self, receipts: Sequence[MeterReceipt]) -> None:
        """Sign and send meter receipts, behind every command."""
        for start in range(0, len(receipts), SIGN_AT_ONCE):
            packets = []
            for receipt in receipts[start : start + SIGN_AT_ONCE]:
                site = self._roster.enrollments[self._roster.site_no_of[receipt.site_id]]
                packets.append(self._packet(site, GatewayKind.RECEIPT, encode_receipt(receipt), RECEIPT_LANE))
            await self._transport.send(packets)
            await asyncio.sleep(0)

    def _packet(self, site: Enrollment, kind: GatewayKind, body: bytes, lane: int) -> Packet:
        name = topic(GatewayTopic(site.shard, site.site_id, kind))
        return Packet(name, self._keys.sign(body), lane=lane)


class _Hearing:
    """A batch while it is read, row by row."""

    def __init__(self) -> None:
        self.samples: list[tuple[int, ...]] = []
        self.acks: list[tuple[int, Ack]] = []
        self.meter: list[MeterMessage] = []
        self.statuses: list[SiteStatus] = []
        self.refused: Counter[tuple[str, str]] = Counter()
        self.received: Counter[str] = Counter()

    def heard(self) -> Heard:
        """Return the rows as columns."""
        return Heard(
            _telemetry(self.samples) if self.samples else _NO_TELEMETRY,
            _acks(self.acks) if self.acks else _NO_ACKS,
            self.meter,
            self.statuses,
            self.refused,
            self.received,
        )


def _telemetry(samples: list[tuple[int, ...]]) -> TelemetryBatch:
    names = ("site_no", *TELEMETRY_COLUMNS)
    rows = np.array(samples, dtype=np.int64).reshape(-1, len(names))
    columns = rows.T.copy()  # one copy for all of them, each in one piece
    flags = columns[-len(_FLAGS) :] != 0
    columns.flags.writeable = flags.flags.writeable = False
    return TelemetryBatch(**dict(zip(names, (*columns[: -len(_FLAGS)], *flags), strict=True)))


def _acks(acks: list[tuple[int, Ack]]) -> AckBatch:
    return AckBatch(
        site_no=column(site_no for site_no, _ in acks),
        epoch=column(ack.epoch for _, ack in acks),
        sequence=column(ack.sequence for _, ack in acks),
        at_s=column(to_epoch(ack.at) for _, ack in acks),
        event_id=tuple(ack.event_id for _, ack in acks),
        refusal=tuple(ack.refusal for _, ack in acks),
    )


_FLAGS = ("grid_connected", "storm_mode", "opted_out", "faulted")
assert TELEMETRY_COLUMNS[-len(_FLAGS) :] == _FLAGS, "the last columns are the flags"
_NO_TELEMETRY, _NO_ACKS = _telemetry([]), _acks([])


@lru_cache(maxsize=65_536)  # a home says the same four topics for years
def _gateway_topic(text: str) -> GatewayTopic:
    try:
        name = parse_topic(text)
    except UnknownTopic:
        raise _Distrusted("unknown_topic") from None
    if not isinstance(name, GatewayTopic):
        raise _Distrusted("unknown_topic")
    return name


def _are_signed(claims: Sequence[_Claim]) -> list[bool]:
    return [_is_signed(claim) for claim in claims]


def _is_signed(claim: _Claim) -> bool:
    """Return whether the site's enrolled key signed the message."""
    try:
        verify(claim.message, _key(claim.site.gateway_public_key))
    except BadSignature:
        return False
    return True


@lru_cache(maxsize=65_536)
def _key(raw: bytes) -> VerifyingKey:
    return VerifyingKey(raw)

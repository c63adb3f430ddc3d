"""``vpp gateway check``: what one gateway says and does, beside what the protocol asks of it.

Listening sends nothing. Control sends commands under a key of its own, each a lease of minutes: a gateway
that pins another key refuses them, and one that obeys stops by itself should this process vanish. Knows no
database and no fleet.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise

from vpp.adapters.keys import FileKeys
from vpp.domain.command import Action, Refusal
from vpp.domain.delivery import MeterMessage, MeterReading, MeterReceipt
from vpp.domain.quantities import Permille, Watts
from vpp.entrypoints.operations.desk import Json
from vpp.ports import Clock, Packet, Transport
from vpp.wire.gateway import (
    Ack,
    Command,
    GatewayKind,
    GatewayTopic,
    Status,
    decode_ack,
    decode_status,
    encode_command,
    parse_topic,
    topic,
)
from vpp.wire.gateway_meter import decode_meter, encode_receipt
from vpp.wire.gateway_telemetry import Telemetry, decode_telemetry
from vpp.wire.signed import BadSignature, SigningKey, VerifyingKey, sign, split, verify
from vpp.wire.strict_json import GATEWAY_MESSAGE_BYTES, MalformedMessage

ANSWER_WITHIN = timedelta(seconds=10)
IDLE_SAMPLE_WITHIN = timedelta(seconds=310)
CLOCK_SLACK = timedelta(seconds=30)
DWELL = timedelta(seconds=61)
RAMP_S = 30
FULL_AFTER = timedelta(seconds=150)  # the ramp, then two samples: each is the mean since the one before
LEASE = timedelta(minutes=5)
SHORT_LEASE = timedelta(seconds=75)
ENDS_WITHIN = timedelta(seconds=RAMP_S + 15)
BOUNDARY_S = 300
POLL_S = 0.2
FLUSH_WITHIN_S = 5.0
SENT_FROM = (GatewayKind.ACK, GatewayKind.TELEMETRY, GatewayKind.METER, GatewayKind.STATUS)
EVENT = "gateway-check"

Pause = Callable[[float], Awaitable[None]]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Subject:
    """The gateway that is looked at, and the power it may be asked for."""

    site_id: str
    shard: str
    key: VerifyingKey
    power_w: int = 1_000

    def topic(self, kind: GatewayKind) -> str:
        """Return one of its topics."""
        return topic(GatewayTopic(self.shard, self.site_id, kind))


@dataclass(slots=True)
class Conversation:
    """What a gateway said so far, read as a controller reads it; ``faults`` cannot be read so."""

    subject: Subject
    transport: Transport
    clock: Clock
    pause: Pause
    acks: list[Ack] = field(default_factory=list)
    samples: list[Telemetry] = field(default_factory=list)
    meters: list[MeterMessage] = field(default_factory=list)
    statuses: list[tuple[Status, bool]] = field(default_factory=list)
    """Each with whether it was a retained copy."""
    faults: list[str] = field(default_factory=list)

    async def until(self, met: Callable[[], bool], within: timedelta) -> bool:
        """Listen until a condition is met; False where it is not in time."""
        deadline = self.clock.now() + within
        while not met():
            if self.clock.now() >= deadline:
                return False
            await self.pause(POLL_S)
            for packet in self.transport.received_now():
                self._take(packet)
        return True

    async def listen(self, for_how_long: timedelta) -> None:
        """Listen for so long."""
        await self.until(lambda: False, for_how_long)

    def _take(self, packet: Packet) -> None:
        name = parse_topic(packet.topic)
        assert isinstance(name, GatewayTopic), "nothing else was subscribed to"
        site_id = self.subject.site_id
        try:
            match name.kind:
                case GatewayKind.ACK:
                    self.acks.append(decode_ack(self._verified(packet), site_id=site_id))
                case GatewayKind.METER:
                    self.meters.append(decode_meter(self._verified(packet), site_id=site_id))
                case GatewayKind.TELEMETRY:
                    self.samples.append(decode_telemetry(packet.payload, site_id=site_id))
                case _:
                    self.statuses.append((decode_status(packet.payload, site_id=site_id), packet.retain))
        except (MalformedMessage, BadSignature) as fault:
            self.faults.append(f"{name.kind}: {fault}")

    def _verified(self, packet: Packet) -> bytes:
        message = split(packet.payload, max_bytes=GATEWAY_MESSAGE_BYTES)
        if message.kid != self.subject.site_id:
            raise BadSignature(f"kid is {message.kid[:40]!r}; a gateway's is its site_id")
        return verify(message, self.subject.key)


@dataclass(slots=True)
class Report:
    """The checks so far, in order."""

    say: Say
    checks: list[Json] = field(default_factory=list)

    def note(self, check: str, asks: str, found: str, *, passed: bool | None) -> None:
        """Keep what a check found; ``passed`` is None where there was nothing to judge."""
        state = "not seen" if passed is None else "passed" if passed else "failed"
        self.checks.append({"check": check, "state": state, "asks": asks, "found": found})
        self.say(f"{state:<9}{check}")


async def check_gateway(
    subject: Subject, transport: Transport, keys: FileKeys | None, *, clock: Clock,
    pause: Pause = asyncio.sleep, say: Say = lambda _: None,
) -> Json:  # fmt: skip
    """Look at one gateway; send it commands where there are keys to sign them with.

    Returns:
        ``site_id``; ``passed``, whether no check failed; ``controller_key`` (``KID:B64URL``, None without
        control); ``checks``: each with ``check``, ``state`` (``passed``, ``failed``, ``not seen``),
        ``asks`` (what the protocol asks) and ``found``.
    """
    report, talk = Report(say), Conversation(subject, transport, clock, pause)
    await talk.until(lambda: any(retained for _, retained in talk.statuses), ANSWER_WITHIN)
    if keys is None:
        await talk.until(lambda: bool(talk.samples and talk.meters), IDLE_SAMPLE_WITHIN)
    else:
        control = Control(talk, report, keys)
        try:
            await control.refusals()
            await control.lease()
            await control.silence()
        finally:
            await control.end()
    _judge_what_was_said(talk, report)
    checks = report.checks
    return {
        "site_id": subject.site_id,
        "passed": all(each["state"] != "failed" for each in checks),
        "controller_key": f"{keys.kid}:{VerifyingKey(keys.public_key).text}" if keys else None,
        "checks": checks,
    }


def _judge_what_was_said(talk: Conversation, report: Report) -> None:
    kept = [status for status, retained in talk.statuses if retained]
    here = kept[-1].online if kept else None
    offset_ms = here.clock_offset_ms if here else None
    report.note(
        "status", "retained, online, its clock known to be within 30 s",
        "none is retained" if not kept else "offline" if here is None else f"offset {offset_ms} ms",
        passed=offset_ms is not None and abs(offset_ms) <= CLOCK_SLACK.total_seconds() * 1000,
    )  # fmt: skip
    newest = talk.samples[-1] if talk.samples else None
    age = talk.clock.now() - newest.at if newest else None
    report.note(
        "telemetry", "a sample every 300 s when idle and every 30 s in an event, at times of UTC",
        "none came" if age is None else f"{len(talk.samples)}, the newest {age.total_seconds():.0f} s old",
        passed=age is not None and -CLOCK_SLACK <= age <= IDLE_SAMPLE_WITHIN,
    )  # fmt: skip
    report.note(
        "readings", "indexes from 1 without holes, times and lifetime counters that never fall",
        _disorder(talk.meters) or f"{len(talk.meters)} messages in order",
        passed=not _disorder(talk.meters) if talk.meters else None,
    )  # fmt: skip
    report.note(
        "messages", "strict JSON of the right schema and site; answers and readings signed by its key",
        "; ".join(talk.faults[:3]) or "all could be read", passed=not talk.faults,
    )  # fmt: skip


def _disorder(meters: list[MeterMessage]) -> str:
    """Return what is wrong with the readings of a boot; empty where nothing is."""
    for boot_id in dict.fromkeys(each.boot_id for each in meters):
        held = {
            reading.index: reading for each in meters if each.boot_id == boot_id for reading in each.readings
        }
        indexes = sorted(held)
        if indexes != list(range(indexes[0], indexes[-1] + 1)):
            return f"an index is missing between {indexes[0]} and {indexes[-1]}"
        for before, after in pairwise(held[index] for index in indexes):
            if after.at < before.at or _fell(before, after):
                return f"reading {after.index} is before reading {before.index}"
    return ""


def _fell(before: MeterReading, after: MeterReading) -> bool:
    counters = (before.discharged_wh, after.discharged_wh), (before.charged_wh, after.charged_wh)
    return any(second < first for first, second in counters if first is not None and second is not None)


class Control:
    """Commands to one gateway, and whether it answers and obeys as the protocol says."""

    def __init__(self, talk: Conversation, report: Report, keys: FileKeys) -> None:
        self._talk, self._report, self._keys = talk, report, keys
        self._epoch, self._sequence = int(talk.clock.now().timestamp()), 0
        self._receipt: MeterReceipt | None = None
        self._before_receipt = 0  # messages with readings
        self._stranger = SigningKey(secrets.token_bytes(32))

    def _now(self) -> datetime:
        return self._talk.clock.now().replace(microsecond=0)

    def _command(self, action: Action = Action.DISCHARGE, lease: timedelta = LEASE) -> Command:
        """Return the next command, well-formed and to be obeyed."""
        self._sequence += 1
        now, subject = self._now(), self._talk.subject
        discharges = action is Action.DISCHARGE
        return Command(
            site_id=subject.site_id, event_id=EVENT, epoch=self._epoch, sequence=self._sequence,
            action=action, discharge_w=Watts(subject.power_w if discharges else 0),
            reserve_floor_permille=Permille(0), issued_at=now, starts_at=now, expires_at=now + lease,
            event_ends_at=now + 4 * LEASE, ramp_s=RAMP_S if discharges else 0, spread_s=0, test=True,
        )  # fmt: skip

    async def _send(self, payload: bytes) -> None:
        await self._talk.transport.send([Packet(self._talk.subject.topic(GatewayKind.COMMAND), payload)])

    def _answers(self, command: Command) -> list[Ack]:
        pair = (command.epoch, command.sequence)
        return [each for each in self._talk.acks if (each.epoch, each.sequence) == pair]

    async def _ask(self, command: Command, payload: bytes | None = None) -> Ack | None:
        """Send a command, signed as it should be unless given; return the answer, None without one."""
        known = len(self._answers(command))
        await self._send(self._keys.sign(encode_command(command)) if payload is None else payload)
        await self._talk.until(lambda: len(self._answers(command)) > known, ANSWER_WITHIN)
        return self._answers(command)[-1] if len(self._answers(command)) > known else None

    def _judge(self, check: str, asks: str, answer: Ack | None, expected: Refusal | None) -> bool:
        right = answer is not None and answer.event_id == EVENT and answer.refusal is expected
        self._report.note(check, asks, _word(answer), passed=right)
        return right

    async def refusals(self) -> None:
        """Send what no gateway may obey, from what it cannot trust to what its home forbids."""
        silent = [self._command() for _ in range(3)]
        bodies = [encode_command(each) for each in silent]
        elsewhere = encode_command(replace(silent[2], site_id="another-home"))
        for payload in (
            bodies[0], sign(bodies[1], self._stranger, self._keys.kid), self._keys.sign(elsewhere),
        ):  # fmt: skip
            await self._send(payload)
        await self._talk.listen(ANSWER_WITHIN)
        for check, command in zip(("unsigned", "bad signature", "another site's"), silent, strict=True):
            answers = self._answers(command)
            self._report.note(
                check, "no answer: nothing of it can be trusted",
                _word(answers[-1]) if answers else "no answer", passed=not answers,
            )  # fmt: skip
        command = self._command()
        answer = await self._ask(command, sign(encode_command(command), self._stranger, "vpp-nobody"))
        self._judge("unknown key", "rejected: unknown_key", answer, Refusal.UNKNOWN_KEY)
        for check, refusal, command in self._refused():
            self._judge(check, f"rejected: {refusal}", await self._ask(command), refusal)

    def _refused(self) -> list[tuple[str, Refusal, Command]]:
        now = self._now()
        ago, ahead, late = now - LEASE, now + timedelta(minutes=2), now + timedelta(minutes=31)
        weak, slow = replace(self._command(), discharge_w=Watts(400)), replace(self._command(), ramp_s=7_200)
        early = replace(self._command(), issued_at=ahead, expires_at=ahead + LEASE)
        past = replace(self._command(), issued_at=ago, expires_at=now - timedelta(seconds=1))
        long = replace(self._command(), expires_at=late)
        full = replace(self._command(), reserve_floor_permille=Permille(1000))
        return [
            ("power below 500 W", Refusal.BAD_PARAMETER, weak),
            ("ramp of two hours", Refusal.BAD_PARAMETER, slow),
            ("issued 2 min ahead", Refusal.CLOCK_UNSURE, early),
            ("expired", Refusal.EXPIRED, past),
            ("lease of 31 min", Refusal.LEASE_TOO_LONG, long),
            ("below reserve", Refusal.BELOW_RESERVE, full),
        ]

    async def _start(self, check: str, lease: timedelta) -> Command | None:
        """Start a discharge; None where the gateway does not take it."""
        command = self._command(lease=lease)
        answer = await self._ask(command)
        if answer is not None and answer.refusal is Refusal.DWELL:
            await self._talk.listen(DWELL)
            command = self._command(lease=lease)
            answer = await self._ask(command)
        return command if self._judge(check, "accepted", answer, None) else None

    async def lease(self) -> None:
        """Start, repeat, renew and release a discharge, and see the power follow."""
        started = await self._start("start", LEASE)
        if started is None:
            return
        first = self._answers(started)[-1]
        again = await self._ask(started)
        self._report.note(
            "the same again", "the earlier answer is repeated",
            "repeated" if again == first else _word(again), passed=again == first,
        )  # fmt: skip
        older = replace(self._command(), epoch=self._epoch - 1)
        self._judge(
            "out of order", "rejected: stale_sequence", await self._ask(older), Refusal.STALE_SEQUENCE
        )
        await self._sees_power("power", "the power within 10 %, and the command in force named", started)
        renewal = self._command()
        if self._judge("renewal", "accepted", await self._ask(renewal), None):
            await self._sees_power(
                "power goes on", "a renewal with the same power is no step", renewal, reached=True
            )
        await self._leave_room(timedelta())
        release = self._command(Action.RELEASE)
        at = self._now()
        if self._judge("release", "accepted, at once", await self._ask(release), None):
            await self._sees_end("end is measured", at)
        if self._talk.meters:
            await self._receive()

    async def silence(self) -> None:
        """Start a short discharge and say nothing more: the gateway has to end it."""
        await self._leave_room(SHORT_LEASE)
        started = await self._start("start before silence", SHORT_LEASE)
        if started is None:
            return
        await self._talk.listen(started.expires_at - self._now())
        await self._sees_end("ends by itself", started.expires_at)
        self._judge_receipt()

    async def _receive(self) -> None:
        """Send a receipt for all readings of the boot but the newest."""
        newest = self._talk.meters[-1]
        readings = [
            each for meter in self._talk.meters if meter.boot_id == newest.boot_id for each in meter.readings
        ]
        through = max(each.index for each in readings) - 1
        if through >= newest.oldest_index:
            self._receipt = MeterReceipt(self._talk.subject.site_id, newest.boot_id, through)
            self._before_receipt = len(self._talk.meters)
            payload = self._keys.sign(encode_receipt(self._receipt))
            await self._talk.transport.send([Packet(self._talk.subject.topic(GatewayKind.RECEIPT), payload)])

    def _judge_receipt(self) -> None:
        asks, receipt = "frees the readings that it covers, and no other is freed", self._receipt
        later = [
            each.oldest_index
            for each in self._talk.meters[self._before_receipt :]
            if receipt and each.boot_id == receipt.boot_id
        ]
        if receipt is None or not later:
            self._report.note("receipt", asks, "no reading came after it", passed=None)
            return
        found = f"stored through {receipt.stored_through}, the oldest index then {later[-1]}"
        self._report.note("receipt", asks, found, passed=later[-1] == receipt.stored_through + 1)

    async def end(self) -> None:
        """Release the home whatever happened before."""
        await self._send(self._keys.sign(encode_command(self._command(Action.RELEASE))))
        with suppress(TimeoutError):  # without a broker the lease ends by itself
            await asyncio.wait_for(self._talk.transport.flush(), FLUSH_WITHIN_S)

    async def _sees_power(self, check: str, asks: str, command: Command, *, reached: bool = False) -> None:
        """See a sample at the power; where it was reached before, two and none below it.

        The first sample after a renewal is the mean of what was before it, too.
        """
        asked_w, known = command.discharge_w, len(self._talk.samples)

        def seen() -> list[Telemetry]:
            return [each for each in self._talk.samples[known:] if each.at > command.issued_at]

        def obeys() -> list[bool]:
            pair = (command.epoch, command.sequence)
            return [
                abs(each.battery_w - asked_w) <= asked_w // 10 and (each.epoch, each.sequence) == pair
                for each in seen()
            ]

        enough = (lambda: len(obeys()) > 1) if reached else (lambda: any(obeys()))
        in_time = await self._talk.until(enough, FULL_AFTER)
        found = ", ".join(f"{each.battery_w} W under {each.sequence}" for each in seen()[-3:])
        passed = in_time and (all(obeys()) or not reached)
        self._report.note(check, asks, found or "no sample came", passed=passed)

    async def _sees_end(self, check: str, at: datetime) -> None:
        """See a signed reading of the end of the discharge."""

        def ends() -> list[MeterReading]:
            readings = [reading for each in self._talk.meters for reading in each.readings]
            return [reading for reading in readings if at <= reading.at <= at + ENDS_WITHIN]

        passed = await self._talk.until(lambda: bool(ends()), ENDS_WITHIN + ANSWER_WITHIN)
        found = (
            f"reading {ends()[-1].index}, {(ends()[-1].at - at).total_seconds():.0f} s after"
            if passed
            else ""
        )
        asks = "a reading as the discharge ends, sent at once"
        self._report.note(check, asks, found or "none came", passed=passed)

    async def _leave_room(self, ahead: timedelta) -> None:
        """Wait until no reading of every five minutes can be taken for that of an end so far ahead."""
        room_s = BOUNDARY_S - ENDS_WITHIN.total_seconds() - ANSWER_WITHIN.total_seconds()
        while not 0 < (self._now() + ahead).timestamp() % BOUNDARY_S < room_s:
            await self._talk.listen(timedelta(seconds=1))


def _word(answer: Ack | None) -> str:
    if answer is None:
        return "no answer"
    return "accepted" if answer.refusal is None else f"rejected: {answer.refusal}"

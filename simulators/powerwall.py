"""One gateway as a state machine: packets and time in, packets out. It does no input or output itself.

It follows the protocol as a third party would from its text: checks in order, stores before it acts,
stops by itself when its lease ends, measures, and keeps every reading until a receipt covers it. Time is
whole seconds since 1970 on the gateway's own clock.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulators.cadence import Cadence
from simulators.command_check import Dropped, Refused, Trusted, clock_refusal, read_command
from simulators.command_disk import CommandDisk, StoredCommand
from simulators.inverter import Inverter, Moment
from simulators.lease import lease_of, recharge_delay_s
from simulators.meter_buffer import MeterBuffer
from vpp.domain.command import Action, Refusal
from vpp.domain.interval import from_epoch, to_epoch
from vpp.domain.quantities import Permille, WattHours, Watts
from vpp.ports import Packet
from vpp.wire.gateway import (
    Ack,
    Command,
    GatewayKind,
    GatewayTopic,
    Online,
    Status,
    decode_command,
    encode_ack,
    encode_status,
    topic,
)
from vpp.wire.gateway_meter import decode_receipt, encode_meter
from vpp.wire.gateway_telemetry import GridState, Telemetry, encode_telemetry
from vpp.wire.signed import BadSignature, SigningKey, VerifyingKey, sign, split, verify
from vpp.wire.strict_json import GATEWAY_MESSAGE_BYTES, MalformedMessage

FIRMWARE = "powerwall-simulator/1"
DWELL_S = 60


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a gateway is: its site, the shard of its topics, and the key it signs with."""

    site_id: str
    shard: str
    key: SigningKey


class Gateway:
    """The gateway of one home. Every method that lets time pass returns the packets to publish, in order."""

    def __init__(
        self,
        identity: Identity,
        inverter: Inverter,
        controller_keys: Mapping[str, VerifyingKey],
        disk: CommandDisk,
        *,
        boot_id: str,
        unconfirmed: Sequence[MeterBuffer] = (),
    ) -> None:
        self.identity = identity
        self.inverter = inverter
        self.controller_keys = dict(controller_keys)
        self.online = False
        self.grid = GridState.CONNECTED
        self.storm_mode = False
        self.opted_out = disk.load().opted_out
        self.fault: str | None = None
        self.clock_offset_ms: int | None = 0
        self.dropped: Counter[str] = Counter()  # by kind of topic and reason
        self.unknown_fields: Counter[str] = Counter()  # by kind of message; ignored, never an error
        self.commands_received = 0
        self._disk = disk
        self._cadence = Cadence(identity.site_id)
        self._topics = {
            kind: topic(GatewayTopic(identity.shard, identity.site_id, kind)) for kind in GatewayKind
        }
        self._old_buffers = list(unconfirmed)
        self._boot(boot_id)

    @property
    def next_due_s(self) -> int:
        """Return when this gateway has something to do by itself."""
        inverter, kept = self.inverter, self._kept
        due_s, moment_s = self._cadence.next_due_s, inverter.next_moment_s
        if moment_s is not None and moment_s < due_s:
            due_s = moment_s
        if inverter.at_s < kept.event_until_s < due_s:
            due_s = kept.event_until_s
        if kept.opt_out_ends_s is not None and kept.opt_out_ends_s < due_s:
            due_s = kept.opt_out_ends_s
        return due_s

    @property
    def topics_heard(self) -> tuple[str, str]:
        """Return the two topics it subscribes to."""
        return self._topics[GatewayKind.COMMAND], self._topics[GatewayKind.RECEIPT]

    @property
    def will(self) -> Packet:
        """Return what the broker says for it when the connection breaks."""
        body = encode_status(Status(self.identity.site_id, None))
        return Packet(self._topics[GatewayKind.STATUS], body, retain=True)

    @property
    def buffers(self) -> tuple[MeterBuffer, ...]:
        """Return what it holds of every boot, oldest first."""
        return (*self._old_buffers, self._buffer)

    def connect(self, now_s: int) -> list[Packet]:
        """Return what it says first on a new connection: its presence, a sample, what nobody confirmed."""
        out = self.advance(now_s)
        self.online = True
        here = Online(
            at=from_epoch(now_s),
            boot_id=self._buffer.boot_id,
            epoch=self._kept.pair[0],
            sequence=self._kept.pair[1],
            firmware=FIRMWARE,
            clock_offset_ms=self.clock_offset_ms,
        )
        body = encode_status(Status(self.identity.site_id, here))
        out.append(Packet(self._topics[GatewayKind.STATUS], body, retain=True))
        self._sample(out)
        self._send_readings(out)
        return out

    def disconnect(self, now_s: int) -> None:
        """Lose the connection. Commands in force go on; readings are kept, samples are not."""
        self.advance(now_s)
        self.online = False

    def reboot(self, now_s: int, *, boot_id: str) -> list[Packet]:
        """Lose the memory, keep the disk, and come back online; a lease that may resume does."""
        self.advance(now_s)
        if self.inverter.stop():
            self._read()
        self._old_buffers.append(self._buffer)
        self.online = False
        self._boot(boot_id)
        return self.connect(now_s)

    def advance(self, now_s: int) -> list[Packet]:
        """Let time pass to an instant and do everything that falls due, each at its own second."""
        self._resume()
        out: list[Packet] = []
        while (due_s := self.next_due_s) <= now_s:
            self._run_to(due_s, out)
            self._do_due(due_s, out)
        self._run_to(now_s, out)
        return out

    def on_message(self, packet: Packet, now_s: int) -> list[Packet]:
        """Take one packet of its own topics at an instant."""
        out = self.advance(now_s)
        if packet.topic == self._topics[GatewayKind.COMMAND]:
            self._on_command(packet, now_s, out)
        elif packet.topic == self._topics[GatewayKind.RECEIPT]:
            self._on_receipt(packet)
        else:
            self.dropped["other not_my_topic"] += 1
        return out

    def owner_opts_out(self, opted_out: bool, now_s: int) -> list[Packet]:
        """The owner says no at home, to this event or the next, or takes it back; again, it is no news."""
        out = self.advance(now_s)
        if opted_out is not self.opted_out:
            self.opted_out = opted_out
            self._bind_opt_out()
        self._home_changed(out)  # before the write: with that the power may go, and the owner said no
        self._disk.store(self._kept)
        return out

    def owner_sets_reserve(self, permille: int, now_s: int) -> list[Packet]:
        """The owner keeps another part of the battery from now on."""
        out = self.advance(now_s)
        self.inverter.reserve_permille = permille
        return self._home_changed(out)

    def grid_becomes(self, grid: GridState, now_s: int) -> list[Packet]:
        """The home loses or regains the grid."""
        out = self.advance(now_s)
        self.grid = grid
        self.inverter.connected = grid is GridState.CONNECTED
        return self._home_changed(out)

    def storm_mode_becomes(self, storm_mode: bool, now_s: int) -> list[Packet]:
        """A storm is forecast, or is over."""
        out = self.advance(now_s)
        self.storm_mode = self.inverter.storm_mode = storm_mode
        return self._home_changed(out)

    def fault_becomes(self, fault: str | None, now_s: int) -> list[Packet]:
        """The battery reports a fault, or None when it is healthy again."""
        out = self.advance(now_s)
        self.fault = fault
        return self._home_changed(out)

    def _home_changed(self, out: list[Packet]) -> list[Packet]:
        """Choose the power anew, stop what the home now forbids, and say at once what is new."""
        self.inverter.reconsider()
        self._obey_home_rules(out)
        self._sample(out)
        return out

    def clock_becomes(self, offset_ms: int | None, now_s: int) -> list[Packet]:
        """The gateway learns how far its clock is off, or with None no longer knows.

        A lease that it could not resume at its boot goes on as soon as the time is known.
        """
        out = self.advance(now_s)
        self.clock_offset_ms = offset_ms
        self._resume()
        return out

    def _boot(self, boot_id: str) -> None:
        now_s = self.inverter.at_s
        self._booted_s = now_s
        self._buffer = MeterBuffer(self.identity.site_id, boot_id)
        self._kept = self._disk.load()
        self._kids_at_boot = frozenset(self._kept.highest)
        if self.opted_out is not self._kept.opted_out:
            self._bind_opt_out()  # the owner spoke as the power went, or the disk was lost
        self.inverter.grid_charge_from_s = max(
            self.inverter.grid_charge_from_s, self._kept.grid_charge_from_s
        )
        self._last_sample = (now_s, self.inverter.battery.net_discharged_ws)
        self._cadence.boots(now_s, in_event=self._in_event(now_s))
        in_force, site_id = self._kept.in_force, self.identity.site_id
        self._unresumed = None if in_force is None else decode_command(in_force, site_id=site_id)
        self._resume()
        self._obey_home_rules([])  # power may have gone after a stop and before it was on the disk

    def _resume(self) -> None:
        """Go on with the lease of before the boot, unless it has expired; wait while the clock is unsure."""
        command, now_s = self._unresumed, self.inverter.at_s
        if command is None:
            return
        refusal = clock_refusal(command, now_s=now_s, clock_offset_ms=self.clock_offset_ms)
        if refusal is Refusal.CLOCK_UNSURE:
            return
        if refusal is not None:
            self._forget_lease()
            return
        self._unresumed = None
        self.inverter.take(lease_of(command, waiting=None, discharging=False))

    # What falls due.

    def _run_to(self, until_s: int, out: list[Packet]) -> None:
        while (moment := self.inverter.run_to(until_s)) is not None:
            self._read()
            if moment is Moment.STARTED:
                self._obey_home_rules(out)
            else:
                self._send_readings(out)
                if self.inverter.lease is None:
                    self._forget_lease()

    def _do_due(self, due_s: int, out: list[Packet]) -> None:
        cadence, in_event = self._cadence, self._in_event(due_s)
        if due_s == cadence.reading_due_s:
            cadence.has_read()
            self._read()
            self._obey_home_rules(out)
        if due_s == self._kept.opt_out_ends_s:
            self.opted_out = False
            self._bind_opt_out()
            self._disk.store(self._kept)
            self._sample(out)
        if due_s == cadence.sample_due_s:
            self._sample(out)
            cadence.sampled(due_s, in_event=in_event)
        if due_s == cadence.meter_due_s:
            self._send_readings(out)
            cadence.metered(due_s, in_event=in_event)
        if due_s == self._kept.event_until_s:
            cadence.changes(due_s, in_event=False)

    def _in_event(self, now_s: int) -> bool:
        return now_s < self._kept.event_until_s

    def _sample(self, out: list[Packet]) -> None:
        if not self.online:
            return  # the mean goes on from the last sample that was sent
        now_s, net_ws = self.inverter.at_s, self.inverter.battery.net_discharged_ws
        before_s, before_ws = self._last_sample
        self._last_sample = (now_s, net_ws)
        battery = self.inverter.battery
        mean_w = (
            round((net_ws - before_ws) / (now_s - before_s)) if now_s > before_s else self.inverter.power_w
        )
        sample = Telemetry(
            site_id=self.identity.site_id,
            at=from_epoch(now_s),
            epoch=self._kept.pair[0],
            sequence=self._kept.pair[1],
            soc_permille=Permille(battery.soc_permille),
            battery_w=Watts(mean_w),
            discharge_limit_w=Watts(self.inverter.limit_w),
            energy_full_wh=WattHours(battery.full_energy_wh),
            reserve_permille=Permille(self.inverter.reserve_permille),
            discharged_wh=WattHours(battery.discharged_wh),
            charged_wh=WattHours(battery.charged_wh),
            grid=self.grid,
            storm_mode=self.storm_mode,
            opted_out=self.opted_out,
            fault=self.fault,
        )
        out.append(Packet(self._topics[GatewayKind.TELEMETRY], encode_telemetry(sample), qos=0))

    def _read(self) -> None:
        battery = self.inverter.battery
        self._buffer.read(
            self.inverter.at_s,
            discharged_wh=battery.discharged_wh,
            charged_wh=battery.charged_wh,
            soc_permille=battery.soc_permille,
        )

    def _send_readings(self, out: list[Packet]) -> None:
        if not self.online:
            return
        self._old_buffers = [buffer for buffer in self._old_buffers if len(buffer)]
        for buffer in self.buffers:
            out.extend(self._signed(GatewayKind.METER, encode_meter(each)) for each in buffer.messages())

    def _signed(self, kind: GatewayKind, body: bytes) -> Packet:
        return Packet(self._topics[kind], sign(body, self.identity.key, self.identity.site_id))

    # What the home itself forbids.

    def _home_refusal(self, floor_permille: int) -> Refusal | None:
        inverter = self.inverter
        if self.opted_out:
            return Refusal.OPTED_OUT
        if self.grid is not GridState.CONNECTED:
            return Refusal.ISLANDED
        if self.storm_mode:
            return Refusal.STORM_MODE
        if inverter.battery.above_tenths(inverter.floor_permille(floor_permille)) <= 0:
            return Refusal.BELOW_RESERVE
        if inverter.limit_w == 0:
            return Refusal.EXPORT_NOT_PERMITTED
        return Refusal.FAULTED if self.fault is not None else None

    def _obey_home_rules(self, out: list[Packet]) -> None:
        """Stop a lease at once when the home forbids it, and say so; it is never resumed.

        Charge and export limit matter only while it discharges: a lease that waits may yet find both.
        """
        lease = self.inverter.lease or self.inverter.running_lease
        if lease is not None:
            refusal = self._home_refusal(lease.floor_permille)
        elif self._unresumed is not None:
            refusal = self._home_refusal(self._unresumed.reserve_floor_permille)
        else:
            return
        passing = refusal in (Refusal.BELOW_RESERVE, Refusal.EXPORT_NOT_PERMITTED)
        if refusal is None or (passing and not self.inverter.discharging):
            return
        self._stop(out)
        self._sample(out)

    def _bind_opt_out(self) -> None:
        """Let the owner's no end with the running event; without one, the next event binds it."""
        kept, now_s = self._kept, self.inverter.at_s
        kept.opted_out = self.opted_out
        running = self.opted_out and self._in_event(now_s)
        kept.opt_out_ends_s = kept.event_until_s if running else None

    def _stop(self, out: list[Packet]) -> None:
        if self.inverter.stop():
            self._read()
            self._send_readings(out)
        self.inverter.run_to(self.inverter.at_s)
        self._forget_lease()

    def _forget_lease(self) -> None:
        self._unresumed = None
        if self._kept.in_force is not None:
            self._kept.in_force = None
            self._disk.store(self._kept)

    # Commands and receipts.

    def _on_receipt(self, packet: Packet) -> None:
        try:
            message = split(packet.payload, max_bytes=GATEWAY_MESSAGE_BYTES)
            key = self.controller_keys.get(message.kid)
            if key is None:
                self.dropped["receipt unknown_key"] += 1
                return
            receipt = decode_receipt(
                verify(message, key), site_id=self.identity.site_id, unknown=self.unknown_fields
            )
        except (MalformedMessage, BadSignature) as untrusted:
            self.dropped[f"receipt {untrusted}"] += 1
            return
        for buffer in self.buffers:
            if buffer.boot_id == receipt.boot_id:
                buffer.confirm(receipt)

    def _on_command(self, packet: Packet, now_s: int, out: list[Packet]) -> None:
        self.commands_received += 1
        if packet.retain:
            self.dropped["command retained"] += 1
            return
        keys, unknown = self.controller_keys, self.unknown_fields
        match read_command(packet.payload, site_id=self.identity.site_id, keys=keys, unknown=unknown):
            case Dropped(reason):
                self.dropped[f"command {reason}"] += 1
            case Refused(event_id, epoch, sequence, refusal):
                out.append(self._ack(event_id, epoch, sequence, refusal, now_s))
            case Trusted() as trusted:
                out.append(self._answer(trusted, now_s, out))

    def _answer(self, trusted: Trusted, now_s: int, out: list[Packet]) -> Packet:
        """Decide on a trusted command, steps 3 to 6, and return its acknowledgement."""
        command, kid = trusted.command, trusted.kid
        refusal = clock_refusal(command, now_s=now_s, clock_offset_ms=self.clock_offset_ms)
        if refusal is not None:
            return self._ack(command.event_id, command.epoch, command.sequence, refusal, now_s)
        stored = self._kept.highest.get(kid)
        pair = (command.epoch, command.sequence)
        if stored is not None and pair == (stored.epoch, stored.sequence) and stored.ack is not None:
            return Packet(self._topics[GatewayKind.ACK], stored.ack)
        if (stored is not None and pair < (stored.epoch, stored.sequence)) or self._older_than_memory(
            command, kid
        ):
            return self._ack(command.event_id, *pair, Refusal.STALE_SEQUENCE, now_s)
        self._kept.highest[kid] = StoredCommand(*pair, trusted.body, None)
        self._disk.store(self._kept)
        refusal = self._act(command, trusted.body, out)
        ack = self._ack(command.event_id, *pair, refusal, now_s)
        self._kept.highest[kid] = StoredCommand(*pair, trusted.body, ack.payload)
        self._disk.store(self._kept)
        return ack

    def _older_than_memory(self, command: Command, kid: str) -> bool:
        """Return whether this gateway may have obeyed the command before it lost its stored pair."""
        if command.action is Action.RELEASE or kid in self._kids_at_boot:
            return False
        return to_epoch(command.issued_at) < self._booted_s

    def _act(self, command: Command, body: bytes, out: list[Packet]) -> Refusal | None:
        """Do what a stored command says unless the home forbids it, and return that refusal."""
        pair = (command.epoch, command.sequence)
        if command.action is Action.RELEASE:
            self._kept.pair = pair  # the sample that says so names the release, not what it ended
            self._release(command, out)
            return None
        self._heed_event(command)
        refusal = self._home_refusal(command.reserve_floor_permille)
        rested_s = self.inverter.at_s - self.inverter.last_flip_s
        if rested_s < DWELL_S and refusal in (None, Refusal.FAULTED):
            return Refusal.DWELL  # the command in force, if any, goes on
        self._kept.pair = pair
        if refusal is not None:
            self._stop(out)
            return refusal
        self._kept.in_force, self._unresumed = body, None
        waiting = None if self.inverter.discharging else self.inverter.lease
        self.inverter.take(lease_of(command, waiting=waiting, discharging=self.inverter.discharging))
        return None

    def _heed_event(self, command: Command) -> None:
        """Report and measure as in an event, and keep off the grid's power until well after it."""
        kept, now_s = self._kept, self.inverter.at_s
        was_idle = not self._in_event(now_s)
        kept.event_until_s = max(to_epoch(command.event_ends_at), now_s)
        self._charge_not_before(kept.event_until_s, command)
        if self.opted_out and kept.opt_out_ends_s is None:
            kept.opt_out_ends_s = max(kept.event_until_s, now_s + 1)
        if was_idle:
            self._cadence.changes(now_s, in_event=self._in_event(now_s))

    def _charge_not_before(self, over_s: int, command: Command) -> None:
        """Keep off the grid's power until this home's own delay after an event's end has passed."""
        from_s = over_s + recharge_delay_s(command.site_id, command.event_id)
        self.inverter.grid_charge_from_s = self._kept.grid_charge_from_s = from_s

    def _release(self, command: Command, out: list[Packet]) -> None:
        now_s = self.inverter.at_s
        self._stop(out)
        if self._in_event(now_s):
            self._kept.event_until_s = now_s
            self._charge_not_before(now_s, command)
            self._cadence.changes(now_s, in_event=False)
        self._sample(out)

    def _ack(self, event_id: str, epoch: int, sequence: int, refusal: Refusal | None, now_s: int) -> Packet:
        ack = Ack(self.identity.site_id, event_id, epoch, sequence, refusal, from_epoch(now_s))
        return self._signed(GatewayKind.ACK, encode_ack(ack))

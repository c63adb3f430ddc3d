"""Somebody who wants to harm: owns the broker, has recorded everything, and at times holds a stolen key.

Without a key nothing of it may have any effect. With a stolen gateway key it may speak for that one
home; with the controller's key it may command, but never below a reserve and never past a lease.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from simulators.faults import Fault
from simulators.online_home import OnlineHome
from simulators.world import CONTROLLER_KEY, KID, World
from vpp.domain.command import Action
from vpp.domain.interval import whole_second
from vpp.domain.quantities import Permille, WattHours, Watts
from vpp.ports import Packet
from vpp.wire.gateway import (
    Ack,
    Command,
    GatewayKind,
    GatewayTopic,
    decode_command,
    encode_ack,
    encode_command,
    topic,
)
from vpp.wire.gateway_meter import decode_meter, encode_meter
from vpp.wire.gateway_telemetry import decode_telemetry, encode_telemetry
from vpp.wire.signed import SigningKey, sign, split
from vpp.wire.strict_json import GATEWAY_MESSAGE_BYTES, GRID_MESSAGE_BYTES

REMEMBERED = 400
STRANGERS_KEY = SigningKey(b"the key of nobody we ever met..."[:32])

ATTACKS = frozenset(
    (
        Fault.REPLAY, Fault.MUTATE, Fault.CROSS_TOPIC, Fault.FORGE, Fault.CLONE, Fault.TELEMETRY_LIE,
        Fault.ENERGY_LIE, Fault.LONG_LEASE, Fault.RETAINED_COMMAND, Fault.STOLEN_KEY,
    )
)  # fmt: skip


class Attacker:
    """Acts when told to; each kind of attack returns whether it could be made."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.kernel.random
        self._seen: deque[Packet] = deque(maxlen=REMEMBERED)
        self._sequence = 0
        self._acts: dict[Fault, Callable[[], bool]] = {
            Fault.REPLAY: self._replay,
            Fault.MUTATE: self._mutate,
            Fault.CROSS_TOPIC: self._cross,
            Fault.FORGE: self._forge,
            Fault.CLONE: self._clone,
            Fault.TELEMETRY_LIE: self._say_so,
            Fault.ENERGY_LIE: self._lie,
            Fault.LONG_LEASE: lambda: self._steal(lease_s=86_400),
            Fault.RETAINED_COMMAND: self._retain,
            Fault.STOLEN_KEY: lambda: self._steal(lease_s=1_800),
        }
        self._speaking = False
        world.network.listeners.append(self._overhear)

    def attack(self, kind: Fault) -> bool:
        """Make one attack of a kind."""
        if not self._world.network.broker.up:
            return False
        return self._acts[kind]()

    def _overhear(self, packet: Packet) -> None:
        if not self._speaking:
            self._seen.append(packet)

    def _publish(self, packet: Packet) -> bool:
        self._speaking = True
        self._world.network.broker.publish(packet)
        self._speaking = False
        return True

    def _any_seen(self, kind: str = "") -> Packet | None:
        found = [packet for packet in self._seen if packet.topic.endswith(kind)]
        return self._random.choice(found) if found else None

    def _replay(self) -> bool:
        packet = self._any_seen(self._random.choice(("/command", "/ack", "/meter", "/receipt", "/event", "")))
        return packet is not None and self._publish(replace(packet, retain=False))

    def _mutate(self) -> bool:
        """Change one byte, or one digit, of a signed message."""
        packet = self._any_seen(self._random.choice(("/command", "/ack", "/meter", "/receipt", "/event")))
        if packet is None:
            return False
        payload = bytearray(packet.payload)
        places = range(len(payload))
        if self._random.random() < 0.7:
            places = [place for place in places if 48 <= payload[place] <= 57] or places  # type: ignore[assignment]  # any sequence of places serves
        place = self._random.choice(places)
        payload[place] = (
            48 + (payload[place] - 47) % 10
            if 48 <= payload[place] <= 57
            else payload[place] ^ (1 << self._random.randrange(7))
        )
        return self._publish(replace(packet, payload=bytes(payload), retain=False))

    def _cross(self) -> bool:
        """Deliver what was meant for one home, or one purpose, to another."""
        kind = self._random.choice(("/command", "/receipt", "/ack", "/meter"))
        packet, other = self._any_seen(kind), self._world.home(self._random)
        if packet is None:
            return False
        if self._random.random() < 0.2:
            kind = self._random.choice(("/command", "/receipt", "/ack", "/meter"))
        name = GatewayTopic(other.gateway.identity.shard, other.site_id, GatewayKind(kind[1:]))
        return self._publish(replace(packet, topic=topic(name), retain=False))

    def _forge(self) -> bool:
        """Write a message of one's own and sign it with the wrong key, under the right name or another."""
        home = self._world.home(self._random)
        kind = self._random.choice(("command", "release", "ack", "event"))
        kid = self._random.choice((KID, "vpp-evil", home.site_id))
        if kind == "ack":
            known = self._any_seen("/command")
            if known is None:
                return False
            body = encode_ack(self._ack_of(known, home))
            return self._send(home, GatewayKind.ACK, sign(body, STRANGERS_KEY, home.site_id))
        if kind == "event":
            event = self._any_seen("/event")
            if event is None:
                return False
            line = split(event.payload, max_bytes=GRID_MESSAGE_BYTES).body
            source = event.topic.split("/")[2]
            return self._publish(
                replace(
                    event, payload=sign(line.replace(b"-", b"-1", 1), STRANGERS_KEY, source), retain=False
                )
            )
        action = Action.DISCHARGE if kind == "command" else Action.RELEASE
        body = encode_command(self._command(home, action, lease_s=900))
        return self._send(home, GatewayKind.COMMAND, sign(body, STRANGERS_KEY, kid))

    def _clone(self) -> bool:
        """Speak with a gateway's own stolen key: another boot at the same time, or other values."""
        packet = self._any_seen("/meter")
        if packet is None:
            return False
        home = self._world.homes[packet.topic.split("/")[3]]
        message = decode_meter(
            split(packet.payload, max_bytes=GATEWAY_MESSAGE_BYTES).body, site_id=home.site_id
        )
        boot_id = message.boot_id if self._random.random() < 0.5 else f"{self._random.getrandbits(128):032x}"
        readings = tuple(
            replace(each, boot_id=boot_id, discharged_wh=WattHours((each.discharged_wh or 0) + 200 + place))
            for place, each in enumerate(message.readings)
        )
        home.cloned = True
        body = encode_meter(replace(message, boot_id=boot_id, readings=readings))
        return self._send(home, GatewayKind.METER, self._signed_by(home, body))

    def _say_so(self) -> bool:
        """Send a sample in a home's name: nobody signs them. They may steer, never harm."""
        packet = self._any_seen("/telemetry")
        if packet is None:
            return False
        home = self._world.homes[packet.topic.split("/")[3]]
        sample = decode_telemetry(packet.payload, site_id=home.site_id)
        lie = replace(
            sample,
            at=whole_second(self._world.kernel.now()),
            soc_permille=Permille(self._random.choice((0, 1000))),
            battery_w=Watts(self._random.choice((0, sample.discharge_limit_w))),
            reserve_permille=Permille(self._random.choice((0, sample.reserve_permille))),
            opted_out=self._random.random() < 0.1,
        )
        return self._send(home, GatewayKind.TELEMETRY, encode_telemetry(lie))

    def _lie(self) -> bool:
        """Let a rightful gateway report more energy than its battery gave, from now on."""
        home = self._world.home(self._random)
        home.lies_by_wh += self._random.choice((500, 5_000, 50_000))
        home.tamper = self._inflate(home)
        return True

    def _inflate(self, home: OnlineHome) -> Callable[[list[Packet]], list[Packet]]:
        def inflated(packets: Sequence[Packet]) -> list[Packet]:
            return [self._more_energy(home, packet) for packet in packets]

        return inflated

    def _more_energy(self, home: OnlineHome, packet: Packet) -> Packet:
        if not packet.topic.endswith("/meter"):
            return packet
        body = split(packet.payload, max_bytes=GATEWAY_MESSAGE_BYTES).body
        message = decode_meter(body, site_id=home.site_id)
        readings = tuple(
            replace(each, discharged_wh=WattHours((each.discharged_wh or 0) + home.lies_by_wh))
            for each in message.readings
        )
        return replace(
            packet, payload=self._signed_by(home, encode_meter(replace(message, readings=readings)))
        )

    def _retain(self) -> bool:
        """Leave the newest command to each home on the broker, for whoever connects next."""
        newest = {packet.topic: packet for packet in self._seen if packet.topic.endswith("/command")}
        for packet in newest.values():
            self._publish(replace(packet, retain=True))
        return bool(newest)

    def _steal(self, *, lease_s: int) -> bool:
        """Command with the controller's own key, to hold a battery at full power down to nothing."""
        home = self._world.home(self._random)
        home.hijacked = home.hijacked or lease_s <= 1_800  # one too long is refused and not stored
        command = self._command(home, Action.DISCHARGE, lease_s=lease_s)
        return self._send(home, GatewayKind.COMMAND, sign(encode_command(command), CONTROLLER_KEY, KID))

    def _command(self, home: OnlineHome, action: Action, *, lease_s: int) -> Command:
        now = whole_second(self._world.kernel.now())
        self._sequence += 1
        discharge = action is Action.DISCHARGE
        known = self._any_seen("/command")
        event_id, epoch, sequence = "ev-evil", 1_789_002_000, 10_000_000 + self._sequence
        if known is not None:
            newest = decode_command(split(known.payload, max_bytes=GATEWAY_MESSAGE_BYTES).body, site_id=None)
            epoch, sequence = newest.epoch, newest.sequence + self._random.choice((0, 1, 100))
            event_id = newest.event_id
        return Command(
            site_id=home.site_id,
            event_id=event_id,
            epoch=epoch,
            sequence=sequence,
            action=action,
            discharge_w=Watts(5_000 if discharge else 0),
            reserve_floor_permille=Permille(0),
            issued_at=now,
            starts_at=now,
            expires_at=now + timedelta(seconds=lease_s),
            event_ends_at=now + timedelta(hours=3),
            ramp_s=30 if discharge else 0,
            spread_s=0,
            test=False,
        )

    def _ack_of(self, known: Packet, home: OnlineHome) -> Ack:
        command = decode_command(split(known.payload, max_bytes=GATEWAY_MESSAGE_BYTES).body, site_id=None)
        at = whole_second(self._world.kernel.now())
        return Ack(home.site_id, command.event_id, command.epoch, command.sequence, None, at)

    def _signed_by(self, home: OnlineHome, body: bytes) -> bytes:
        return sign(body, home.gateway.identity.key, home.site_id)

    def _send(self, home: OnlineHome, kind: GatewayKind, payload: bytes) -> bool:
        name = GatewayTopic(home.gateway.identity.shard, home.site_id, kind)
        return self._publish(Packet(topic(name), payload))

"""A simulated gateway and a controller to talk to it, for tests that name only what matters to them."""

import json
from dataclasses import replace
from datetime import UTC, datetime

from simulators.battery import Battery, usable_tenths
from simulators.command_disk import CommandDisk, MemoryDisk
from simulators.household import NO_EXPORT_LIMIT
from simulators.inverter import House, Inverter
from simulators.powerwall import Gateway, Identity
from vpp.domain.command import Action
from vpp.domain.interval import from_epoch, to_epoch
from vpp.domain.quantities import Permille, Watts
from vpp.ports import Packet
from vpp.wire.gateway import Command, decode_ack, encode_command
from vpp.wire.gateway_meter import decode_meter
from vpp.wire.signed import SigningKey, sign, split, verify

CONTROLLER = SigningKey(bytes(range(32)))
STRANGER = SigningKey(bytes(range(1, 33)))
HOME_KEY = SigningKey(bytes(range(2, 34)))
STARTS = to_epoch(datetime(2026, 9, 10, 1, tzinfo=UTC))
ENDS = STARTS + 7200
BOOTED = STARTS - 1800
FULL_WH = 13_305


class SteadyHouse:
    """A house whose load minus sun is the same all day, or as told from an instant on."""

    def __init__(self, net_load_w: int = 0) -> None:
        self.net_load_w_from = [(0, net_load_w)]

    def net_load_at(self, row: int, at_s: int) -> int:
        return [watts for since_s, watts in self.net_load_w_from if since_s <= at_s][-1]


def a_gateway(
    *,
    soc_pct: float = 90,
    reserve_pct: int = 20,
    net_load_w: int = 0,
    export_limit_w: int = NO_EXPORT_LIMIT,
    disk: CommandDisk | None = None,
    site_id: str = "s-7f3a",
    kind: type[Gateway] = Gateway,
) -> Gateway:
    battery = Battery(
        FULL_WH, 5_000, 5_000, int(usable_tenths(FULL_WH, int(soc_pct * 10))), 10**10, 12 * 10**9
    )
    house = House(SteadyHouse(net_load_w), 0, 100, export_limit_w)
    inverter = Inverter(battery, house, reserve_permille=reserve_pct * 10, at_s=BOOTED)
    identity = Identity(site_id, "0a", HOME_KEY)
    keys = {"vpp-1": CONTROLLER.verifying_key}
    gateway = kind(identity, inverter, keys, disk or MemoryDisk(), boot_id="b" * 32)
    gateway.connect(BOOTED)
    return gateway


def a_command(**changes: object) -> Command:
    command = Command(
        site_id="s-7f3a",
        event_id="ev-1",
        epoch=1_789_002_000,
        sequence=10,
        action=Action.DISCHARGE,
        discharge_w=Watts(4_200),
        reserve_floor_permille=Permille(200),
        issued_at=from_epoch(STARTS - 120),
        starts_at=from_epoch(STARTS),
        expires_at=from_epoch(STARTS + 780),
        event_ends_at=from_epoch(ENDS),
        ramp_s=30,
        spread_s=60,
        test=False,
    )
    return replace(command, **changes)  # type: ignore[arg-type]  # the names are a command's own fields


def a_release(sequence: int, at_s: int, **changes: object) -> Command:
    at = from_epoch(at_s)
    return a_command(
        sequence=sequence,
        action=Action.RELEASE,
        discharge_w=0,
        ramp_s=0,
        spread_s=0,
        issued_at=at,
        starts_at=at,
        expires_at=from_epoch(at_s + 900),
        **changes,
    )


def signed(
    command: Command | bytes, *, key: SigningKey = CONTROLLER, kid: str = "vpp-1", retain: bool = False
) -> Packet:
    body = command if isinstance(command, bytes) else encode_command(command)
    return Packet("vpp/v1/0a/s-7f3a/command", sign(body, key, kid), retain=retain)


def acks(packets: list[Packet]) -> list[tuple[int, str | None]]:
    """Return (sequence, reason) of every acknowledgement among the packets, its signature checked."""
    found = []
    for packet in packets:
        if packet.topic.endswith("/ack"):
            message = split(packet.payload, max_bytes=4096)
            ack = decode_ack(verify(message, HOME_KEY.verifying_key), site_id="s-7f3a")
            found.append((ack.sequence, ack.refusal and ack.refusal.value))
    return found


def samples(packets: list[Packet]) -> list[dict]:
    return [json.loads(packet.payload) for packet in packets if packet.topic.endswith("/telemetry")]


def readings(packets: list[Packet]) -> list:
    found = []
    for packet in packets:
        if packet.topic.endswith("/meter"):
            body = verify(split(packet.payload, max_bytes=4096), HOME_KEY.verifying_key)
            found.extend(decode_meter(body, site_id="s-7f3a").readings)
    return found


def told(
    gateway: Gateway, command: Command | Packet, at_s: int = STARTS - 120
) -> list[tuple[int, str | None]]:
    return acks(gateway.on_message(command if isinstance(command, Packet) else signed(command), at_s))


def a_running_gateway(**changes: object) -> Gateway:
    gateway = a_gateway(**changes)  # type: ignore[arg-type]  # the names are a gateway's own
    assert told(gateway, a_command()) == [(10, None)]
    gateway.advance(STARTS + 120)
    assert gateway.inverter.power_w == 4_200
    return gateway

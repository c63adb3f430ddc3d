"""Many simulated gateways in one process: each does work only when something is due or arrives."""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from secrets import token_hex

from simulators.command_disk import CommandDisk, MemoryDisk
from simulators.fleet_disk import FleetDisk
from simulators.history import History, go_on, live_through
from simulators.home_files import GatewayFile, UnusableFile
from simulators.household import Neighbourhood, Surroundings
from simulators.inverter import House, Inverter
from simulators.meter_buffer import MeterBuffer
from simulators.powerwall import Gateway, Identity
from vpp.domain.enrollment import shard_of
from vpp.domain.interval import to_epoch
from vpp.ports import Packet
from vpp.wire.signed import SigningKey, VerifyingKey

RESERVE_TOLERANCE_PERMILLE = 5
FILTERS = ("vpp/v1/+/+/command", "vpp/v1/+/+/receipt")
"""What one connection that speaks for every home listens to."""


def make_gateway(
    homes: Neighbourhood,
    row: int,
    *,
    history: History,
    surroundings: Surroundings,
    key: SigningKey,
    shard: str,
    controller_keys: Mapping[str, VerifyingKey],
    disk: CommandDisk,
    boot_id: str,
    unconfirmed: Sequence[MeterBuffer] = (),
) -> Gateway:
    """Return the gateway of one home as its history leaves it, not yet connected."""
    house = House(surroundings, row, int(homes.share_pct[row]), int(homes.export_limit_w[row]))
    inverter = Inverter(
        history.battery(homes, row),
        house,
        reserve_permille=int(homes.home_reserve_permille[row]),
        at_s=to_epoch(history.ends_at),
    )
    identity = Identity(homes.site_id[row], shard, key)
    return Gateway(identity, inverter, controller_keys, disk, boot_id=boot_id, unconfirmed=unconfirmed)


def make_gateways(
    homes: Neighbourhood,
    *,
    site_ids: Sequence[str],
    history: History,
    surroundings: Surroundings,
    keys: Mapping[str, SigningKey],
    shards: Mapping[str, str] | None,
    controller_keys: Mapping[str, VerifyingKey],
    disk: FleetDisk | None = None,
) -> list[Gateway]:
    """Return the gateways of the named sites, in that order.

    Without ``shards`` the sites are taken to be the first that were ever enrolled, in this order. Without a
    ``disk`` nothing outlives the process, and each boot id follows from the seed: a story repeats. With one
    each is drawn anew, for meter readings of two processes under one boot id would contradict each other.
    """
    row_of = {site_id: row for row, site_id in enumerate(homes.site_id)}
    random = Random(homes.seed)
    return [
        make_gateway(
            homes,
            row_of[site_id],
            history=history,
            surroundings=surroundings,
            key=keys[site_id],
            shard=shard_of(number) if shards is None else shards[site_id],
            controller_keys=controller_keys,
            disk=MemoryDisk() if disk is None else disk.of(site_id),
            boot_id=f"{random.getrandbits(128):032x}" if disk is None else token_hex(16),
            unconfirmed=() if disk is None else disk.unconfirmed(site_id),
        )
        for number, site_id in enumerate(site_ids)
    ]


def load_homes(
    kept: GatewayFile,
    site_ids: Sequence[str],
    *,
    until: datetime,
    shards: Mapping[str, str] | None,
    controller_keys: Mapping[str, VerifyingKey],
    disk: FleetDisk | None = None,
) -> tuple["Homes", list[str]]:
    """Return the named homes as their history leaves them at an instant, and those that can be reached.

    With a ``disk`` they go on from where an earlier process left them, and keep there what must outlive
    this one: commands, readings that nobody confirmed, and their batteries.

    Raises:
        UnusableFile: A site has no key, or no shard, in what was read.
    """
    for known, what in ((kept.keys, "gateways.json has no key"), (shards or kept.keys, "there is no shard")):
        strangers = [site_id for site_id in site_ids if site_id not in known]
        if strangers:
            raise UnusableFile(f"{what} of site {strangers[0]}")
    homes = kept.homes()
    surroundings = Surroundings(homes)
    history = live_through(homes, surroundings, starts_at=kept.history_from, ends_at=until)
    if disk is not None:
        history = go_on(history, homes, surroundings, kept=disk.batteries(), until=until)
    gateways = make_gateways(
        homes,
        site_ids=site_ids,
        history=history,
        surroundings=surroundings,
        keys=kept.keys,
        shards=shards,
        controller_keys=controller_keys,
        disk=disk,
    )
    reserve = dict(zip(homes.site_id, homes.vpp_reserve_permille.tolist(), strict=True))
    on_air = dict(zip(homes.site_id, homes.reachable.tolist(), strict=True))
    return Homes(gateways, reserve_permille=reserve, disk=disk), [each for each in site_ids if on_air[each]]


@dataclass(slots=True)
class Observed:
    """What the homes themselves saw, for comparison with what the controller believes."""

    commands_received: int = 0
    homes_commanded: int = 0
    reserve_violations: int = 0
    homes_under_reserve: tuple[str, ...] = ()
    dropped: Counter[str] = field(default_factory=Counter)
    unknown_fields: Counter[str] = field(default_factory=Counter)
    delivered_wh: dict[str, dict[str, int]] = field(default_factory=dict)  # by event, then site


class Homes:
    """Gateways by site, and an alarm for the next one that has something to do.

    With a disk, what they keep is on it before the packets of a method are returned.
    """

    def __init__(
        self,
        gateways: Sequence[Gateway],
        *,
        reserve_permille: Mapping[str, int],
        disk: FleetDisk | None = None,
    ) -> None:
        self._gateways = {gateway.identity.site_id: gateway for gateway in gateways}
        self._reserve_permille = reserve_permille
        self._disk = disk
        self._alarms: list[tuple[int, str]] = []
        self._alarm_of: dict[str, int] = {}
        self._under_reserve: set[str] = set()

    def __len__(self) -> int:
        return len(self._gateways)

    def gateway(self, site_id: str) -> Gateway:
        """Return the gateway of a site."""
        return self._gateways[site_id]

    def connect(self, site_ids: Sequence[str], now_s: int) -> list[Packet]:
        """Bring homes online and return what they say first."""
        out: list[Packet] = []
        for site_id in site_ids:
            out.extend(self._gateways[site_id].connect(now_s))
            self._acted(self._gateways[site_id])
        self._commit()
        return out

    def disconnect(self, site_ids: Sequence[str], now_s: int) -> None:
        """Take homes off the air that are on it; commands in force go on."""
        for site_id in site_ids:
            gateway = self._gateways[site_id]
            if gateway.online:
                gateway.disconnect(now_s)
                self._acted(gateway)
        self._commit()

    def take(self, packets: Sequence[Packet], now_s: int) -> list[Packet]:
        """Hand packets to the homes they name and return the answers. Homes off the air hear nothing."""
        out: list[Packet] = []
        for packet in packets:
            gateway = self._gateways.get(packet.topic.split("/")[3])
            if gateway is None or not gateway.online:
                continue
            out.extend(gateway.on_message(packet, now_s))
            self._acted(gateway)
        self._commit()
        return out

    def advance(self, now_s: int) -> list[Packet]:
        """Let every home do what is due by an instant."""
        out: list[Packet] = []
        alarms = self._alarms
        while alarms and alarms[0][0] <= now_s:
            due_s, site_id = heapq.heappop(alarms)
            if self._alarm_of[site_id] != due_s:
                continue  # set before the home heard or did something else
            gateway = self._gateways[site_id]
            out.extend(gateway.advance(now_s))
            self._acted(gateway)
        self._commit()
        return out

    def dropped(self) -> Counter[str]:
        """Return how many messages the homes dropped so far, by kind of topic and reason."""
        total: Counter[str] = Counter()
        for gateway in self._gateways.values():
            if gateway.dropped:  # for nearly all of thousands of homes it is empty
                total.update(gateway.dropped)
        return total

    def observed(self) -> Observed:
        """Return what the homes saw so far."""
        seen = Observed(homes_under_reserve=tuple(sorted(self._under_reserve)), dropped=self.dropped())
        seen.reserve_violations = len(self._under_reserve)
        for site_id, gateway in self._gateways.items():
            seen.commands_received += gateway.commands_received
            seen.homes_commanded += gateway.commands_received > 0
            seen.unknown_fields.update(gateway.unknown_fields)
            for event_id, delivered_ws in gateway.inverter.delivered_ws.items():
                seen.delivered_wh.setdefault(event_id, {})[site_id] = delivered_ws // 3600
        return seen

    def _acted(self, gateway: Gateway) -> None:
        self._watch(gateway)
        self._set_alarm(gateway.identity.site_id)
        if self._disk is not None:
            self._disk.keep(gateway)

    def _commit(self) -> None:
        if self._disk is not None:
            self._disk.commit()

    def _set_alarm(self, site_id: str) -> None:
        due_s = self._gateways[site_id].next_due_s
        if self._alarm_of.get(site_id) != due_s:
            self._alarm_of[site_id] = due_s
            heapq.heappush(self._alarms, (due_s, site_id))

    def _watch(self, gateway: Gateway) -> None:
        lease = gateway.inverter.running_lease
        if lease is None:
            return
        site_id = gateway.identity.site_id
        kept = max(self._reserve_permille.get(site_id, 0), gateway.inverter.reserve_permille)
        if gateway.inverter.battery.soc_permille + RESERVE_TOLERANCE_PERMILLE < kept:
            self._under_reserve.add(site_id)

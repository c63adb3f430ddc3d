"""A battery in its house, second by second: self-consumption at rest, a lease's discharge when there is one.

Power is constant within each second and every change falls on a whole second, so energy is an exact sum
and the result does not depend on how often anybody looks. Knows nothing of messages.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from simulators.battery import CHARGED_TENTHS_KEPT, Battery, one_home_w, usable_tenths
from simulators.household import SLOT_S
from simulators.lease import SLOWEST_FULL_START_S, Lease
from vpp.domain.powerwall import export_headroom_w
from vpp.domain.quantities import Watts

GRID_CHARGE_W = 1_700
LIMIT_STEP_W = 250
NO_SUN = Watts(0)  # what the sun gives is already taken from the load


class Moment(Enum):
    """Something that leaves a meter reading."""

    STARTED = "started"
    ENDED = "ended"


class NetLoad(Protocol):
    """Load minus sun of homes, constant for five minutes at a time."""

    def net_load_at(self, row: int, at_s: int) -> int:
        """Return one home's load minus sun in watts at an instant."""
        ...


@dataclass(frozen=True, slots=True)
class House:
    """One home's own circumstances. An export limit of zero never exports."""

    surroundings: NetLoad
    row: int
    share_pct: int
    export_limit_w: int

    def net_load_w(self, at_s: int) -> int:
        """Return load minus sun at an instant."""
        return self.surroundings.net_load_at(self.row, at_s)


@dataclass(slots=True)
class Output:
    """A discharge under way: a straight ramp between two powers, then the second one held."""

    lease: Lease
    from_w: int
    to_w: int
    ramp_at_s: int
    ramp_s: int
    stopping: bool = False

    def power_w(self, at_s: int) -> int:
        """Return the power during the second that begins at an instant."""
        if at_s >= self.ramp_at_s + self.ramp_s:
            return self.to_w
        return self.from_w + (self.to_w - self.from_w) * (at_s + 1 - self.ramp_at_s) // self.ramp_s

    def ramps(self, at_s: int) -> bool:
        """Return whether the power still changes each second."""
        return at_s < self.ramp_at_s + self.ramp_s


class Inverter:
    """Moves one battery through time. The gateway sets what the owner and the grid say."""

    def __init__(self, battery: Battery, house: House, *, reserve_permille: int, at_s: int) -> None:
        self.battery = battery
        self.reserve_permille = reserve_permille
        self.connected = True
        self.storm_mode = False
        self.grid_charge_from_s = 0
        self.at_s = at_s
        self.power_w = 0
        self.last_flip_s = -(10**9)
        self.lease: Lease | None = None
        self.delivered_ws: dict[str, int] = {}  # given out for each event, whatever meters say later
        self._house = house
        self._output: Output | None = None
        self._direction = 0
        self._changes_at_s = at_s
        self._slot = -1
        self._net_load_w = 0
        self._limit_w = 0

    @property
    def discharging(self) -> bool:
        """Return whether a lease moves the battery now, ramps included."""
        return self._output is not None

    @property
    def running_lease(self) -> Lease | None:
        """Return the lease that moves the battery now, which a newer one may be waiting to replace."""
        return None if self._output is None else self._output.lease

    @property
    def limit_w(self) -> int:
        """Return what the home could discharge now, rounded down to 250 W."""
        self._look_outside()
        return self._limit_w

    @property
    def next_moment_s(self) -> int | None:
        """Return when a lease needs attention next, or None when no lease is in force.

        A ramp needs none before its end: its seconds are caught up exactly whenever anybody looks.
        """
        output = self._output
        if output is not None and self._changes_at_s > self.at_s and output.ramps(self.at_s):
            return output.ramp_at_s + output.ramp_s
        return self._changes_at_s if output is not None or self.lease is not None else None

    def floor_permille(self, lease_floor_permille: int) -> int:
        """Return the charge under which a lease never takes the battery."""
        return max(lease_floor_permille, self.reserve_permille)

    def take(self, lease: Lease) -> None:
        """Put a lease in force in place of the one before; what runs goes on until the new one starts."""
        self.lease = lease
        self._changes_at_s = self.at_s

    def stop(self) -> bool:
        """End any lease now, without a ramp; return whether it was discharging."""
        was_discharging = self._output is not None
        self.lease = None
        self._output = None
        self._changes_at_s = self.at_s
        return was_discharging

    def reconsider(self) -> None:
        """Choose the power anew, after the owner or the grid changed something."""
        self._changes_at_s = self.at_s

    def run_to(self, until_s: int) -> Moment | None:
        """Advance to an instant, or to the first moment before or at it, which is returned."""
        while True:
            if self._changes_at_s <= self.at_s:
                moment = self._choose()
                if moment is not None:
                    return moment
            if self.at_s >= until_s:
                return None
            step_to_s = min(until_s, self._changes_at_s)
            self.battery.run(self.power_w, step_to_s - self.at_s)
            if self._output is not None and self.power_w > 0:
                event_id, given_ws = self._output.lease.event_id, self.power_w * (step_to_s - self.at_s)
                self.delivered_ws[event_id] = self.delivered_ws.get(event_id, 0) + given_ws
            self.at_s = step_to_s

    def _choose(self) -> Moment | None:
        """Set the power from now on and when to choose again; a returned moment asks to be called again."""
        self._look_outside()
        moment = self._follow_lease()
        if moment is not None:
            return moment
        if self._output is None:
            self._rest()
            return None
        return self._discharge(self._output)

    def _follow_lease(self) -> Moment | None:
        lease, output, now_s = self.lease, self._output, self.at_s
        if lease is not None and now_s >= lease.starts_s and (output is None or output.lease is not lease):
            if now_s >= lease.stops_s and output is None:
                self.lease = None
                return None
            return self._start(lease, output)
        if output is not None and not output.stopping and now_s >= output.lease.stops_s:
            self._begin_stop(output)
        return None

    def _start(self, lease: Lease, output: Output | None) -> Moment | None:
        if output is not None and not output.stopping and output.to_w == lease.discharge_w:
            output.lease = lease  # a renewal of the same power is no step
            return None
        rises = lease.discharge_w > self.power_w
        self._output = Output(
            lease=lease,
            from_w=self.power_w,
            to_w=lease.discharge_w,
            ramp_at_s=self.at_s,
            ramp_s=max(SLOWEST_FULL_START_S, lease.ramp_s) if rises else lease.ramp_s,
        )
        return Moment.STARTED if output is None else None

    def _begin_stop(self, output: Output) -> None:
        lease = output.lease
        output.from_w, output.to_w = max(0, self.power_w), 0
        output.ramp_at_s, output.stopping = self.at_s, True
        # A command that came late still ends with the event: its ramp is cut short, not its promise.
        output.ramp_s = max(0, min(lease.ramp_s, lease.event_ends_s - self.at_s))

    def _discharge(self, output: Output) -> Moment | None:
        now_s = self.at_s
        room = self.battery.above_tenths(self.floor_permille(output.lease.floor_permille))
        power_w = min(output.power_w(now_s), self._limit_w)
        ramp_down = 5 * power_w * output.lease.ramp_s  # tenths of a watt-second that stopping still takes
        if not output.stopping and room < ramp_down + 10 * power_w:
            self._begin_stop(output)
            power_w = min(output.power_w(now_s), self._limit_w)
        if (output.stopping and not output.ramps(now_s)) or room < 10 * power_w:
            return self._finish(output)
        self._set_power(power_w)
        if output.ramps(now_s):
            self._changes_at_s = now_s + 1
            return None
        changes = [self._slot_ends_s(), output.lease.stops_s]
        if self.lease is not None and self.lease is not output.lease:
            changes.append(self.lease.starts_s)
        if power_w > 0:
            changes.append(now_s + max(1, (room - ramp_down) // (10 * power_w)))
        self._changes_at_s = max(now_s + 1, min(changes))
        return None

    def _finish(self, output: Output) -> Moment:
        if self.lease is output.lease:
            self.lease = None
        self._output = None
        return Moment.ENDED

    def _rest(self) -> None:
        ends_s = self._slot_ends_s()
        if self.lease is not None:
            ends_s = min(ends_s, self.lease.starts_s)
        if self.at_s < self.grid_charge_from_s:
            ends_s = min(ends_s, self.grid_charge_from_s)
        self._set_power(self._own_power_w(ends_s - self.at_s))
        self._changes_at_s = ends_s

    def _own_power_w(self, seconds: int) -> int:
        battery = self.battery
        kept_permille = self.reserve_permille if self.connected else 0
        kept = int(usable_tenths(battery.full_energy_wh, kept_permille))
        power_w = one_home_w(
            self._net_load_w,
            self._house.share_pct if self.connected else 100,
            battery.stored_tenths,
            kept,
            battery.full_tenths,
            battery.max_charge_w,
            battery.max_discharge_w,
            seconds,
        )
        wanted = battery.full_tenths if self.storm_mode else kept
        if self.connected and self.at_s >= self.grid_charge_from_s and battery.stored_tenths < wanted:
            missing_w = (wanted - battery.stored_tenths) // (CHARGED_TENTHS_KEPT * seconds)
            return min(power_w, -min(GRID_CHARGE_W, battery.max_charge_w, missing_w))
        return power_w

    def _set_power(self, power_w: int) -> None:
        self.power_w = power_w
        direction = (power_w > 0) - (power_w < 0)
        if direction and direction != self._direction:
            if self._direction:
                self.last_flip_s = self.at_s
            self._direction = direction

    def _slot_ends_s(self) -> int:
        return (self.at_s // SLOT_S + 1) * SLOT_S

    def _look_outside(self) -> None:
        slot = self.at_s // SLOT_S
        if slot == self._slot:
            return
        self._slot = slot
        self._net_load_w = self._house.net_load_w(self.at_s)
        room_w = export_headroom_w(Watts(self._net_load_w), NO_SUN, Watts(self._house.export_limit_w))
        limit_w = max(0, min(self.battery.max_discharge_w, room_w))
        self._limit_w = limit_w // LIMIT_STEP_W * LIMIT_STEP_W

"""How homes are expected to answer commands: start, ramp, fall in charge, stop at the reserve.

A forecast for rehearsals, coarse on purpose. It knows neither load nor sun, and a home gives all that it
is asked, or nothing; who was just found short gives no more than that again.
"""

from collections.abc import Sequence

import numpy as np

from vpp.domain.command import Action, CommandBatch, start_delay_s
from vpp.domain.fleet import FleetState, TelemetryBatch
from vpp.domain.interval import to_epoch
from vpp.domain.lease import Leases, Standing
from vpp.domain.quantities import BoolColumn, IntColumn

STEP_S = 5
_WS_PER_PERMILLE = 342  # of one watt-hour of pack, in hundredths (the app scale hides 5 %)


class HomeModel:
    """Homes in virtual time, as columns indexed by ``site_no``; they begin as a fleet stands.

    ``reporting`` homes answer and report; the others are silent and still. ``given_ws`` is the energy
    each gave in all, ``power_w`` its power now.
    """

    def __init__(
        self, fleet: FleetState, site_ids: Sequence[str], reporting: BoolColumn, *, now_s: int
    ) -> None:
        sites = len(fleet)
        self._fleet, self._site_ids, self.reporting, self._now_s = fleet, site_ids, reporting, now_s
        self._works: BoolColumn = np.ones(sites, dtype=np.bool_)
        self._per_permille = np.maximum(fleet.energy_full_wh * _WS_PER_PERMILLE // 100, 1)
        self._stored_ws = fleet.soc_permille * self._per_permille
        self.power_w, self.given_ws, self._from_w, self._to_w, self._ramp_at_s = self._zeros(5)
        self._ends_s, self._floor, self._sequence, self._epoch = self._zeros(4)
        self._ramp_s, self._delay_s = np.ones(sites, dtype=np.int64), np.zeros(sites, dtype=np.int64)
        self._most_w = np.minimum(fleet.discharge_limit_w, fleet.max_discharge_w)

    def _zeros(self, count: int) -> list[IntColumn]:
        return [np.zeros(len(self._fleet), dtype=np.int64) for _ in range(count)]

    def fail(self, expected_permille: IntColumn, event_id: str) -> None:
        """Let as many homes accept and give nothing as expected shares say, always the same ones.

        Who discharges works: that is seen, and needs no expectation.
        """
        draws = [start_delay_s(site_id, f"{event_id} fails", 1000) for site_id in self._site_ids]
        self._works = (np.array(draws, dtype=np.int64) < expected_permille) | (self.power_w > 0)
        self._to_w = np.where(self._works, self._to_w, 0)

    def hold(self, leases: Leases, event_ids: Sequence[str], *, spread_s: int, ramp_s: int) -> None:
        """Let homes begin with the commands they have, and with the power that was measured of them.

        What was sent and is not answered yet is on its way. ``event_ids`` are the words of the leases'
        ``event_no``; spread and ramp are what homes were told, in seconds.
        """
        reports, now_s = self.reporting[: len(leases)], self._now_s
        self._epoch[: len(leases)], self._sequence[: len(leases)] = leases.acked_epoch, leases.acked_sequence
        heard = (leases.standing == int(Standing.ACCEPTED)) | (leases.standing == int(Standing.WAITING))
        rows = np.flatnonzero(reports & heard & leases.discharging(now_s))
        named = zip(rows.tolist(), leases.event_no[rows].tolist(), strict=True)
        delays = [start_delay_s(self._site_ids[row], event_ids[number], spread_s) for row, number in named]
        self._delay_s[rows] = np.array(delays, dtype=np.int64)
        self._to_w[rows] = leases.setpoint_w[rows]
        self.power_w[rows] = np.clip(self._fleet.battery_w[rows], 0, self._to_w[rows])
        self._from_w[rows], self._ramp_s[rows] = self.power_w[rows], max(ramp_s, 1)
        rests = self.power_w[rows] == 0
        starts_s = leases.first_start_s[rows] + np.where(rests, self._delay_s[rows], 0)
        self._ramp_at_s[rows] = np.maximum(starts_s, now_s)
        at_end = leases.expires_at_s[rows] >= leases.event_ends_at_s[rows]
        self._ends_s[rows] = leases.expires_at_s[rows] - np.where(at_end, ramp_s + self._delay_s[rows], 0)
        self._floor[rows] = np.maximum(leases.floor_permille[rows], self._fleet.home_reserve_permille[rows])

    def limit(self, sites: BoolColumn) -> None:
        """Let these homes never give more than now: they were found short, or refused."""
        self._most_w = np.where(sites, np.minimum(self._most_w, self.power_w), self._most_w)

    def take(self, batch: CommandBatch) -> IntColumn:
        """Let the homes that report take a batch of commands; return those homes."""
        order, now_s = batch.order, self._now_s
        here = self.reporting[order.site_no]
        rows = order.site_no[here]
        self._sequence[rows], self._epoch[rows] = batch.sequence, batch.epoch
        if order.action is Action.RELEASE:
            self._from_w[rows] = self._to_w[rows] = self.power_w[rows] = 0
            self._ends_s[rows] = 0
            return rows
        rests = (self._ends_s[rows] <= now_s) | (self._to_w[rows] == 0)
        delays = [start_delay_s(self._site_ids[row], order.event_id, order.spread_s) for row in rows.tolist()]
        self._delay_s[rows] = np.array(delays, dtype=np.int64)
        wanted_w = batch.setpoint_w[here] * self._works[rows]
        moves = rests | (wanted_w != self._to_w[rows])
        starts_s = np.maximum(to_epoch(order.starts_at) + np.where(rests, self._delay_s[rows], 0), now_s)
        self._from_w[rows] = np.where(moves, self.power_w[rows], self._from_w[rows])
        self._ramp_at_s[rows] = np.where(moves, starts_s, self._ramp_at_s[rows])
        self._ramp_s[rows] = max(order.ramp_s, 1)
        self._to_w[rows] = wanted_w
        down_s = order.ramp_s + self._delay_s[rows]
        at_end = order.expires_at >= order.event_ends_at
        self._ends_s[rows] = to_epoch(order.expires_at) - (down_s if at_end else 0)
        self._floor[rows] = np.maximum(
            batch.reserve_floor_permille[here], self._fleet.home_reserve_permille[rows]
        )
        return rows

    def advance(self, to_s: int) -> None:
        """Move every home to an instant."""
        while self._now_s < to_s:
            seconds = min(STEP_S, to_s - self._now_s)
            middle_s = self._now_s + seconds // 2
            ramped = np.clip(middle_s - self._ramp_at_s, 0, self._ramp_s)
            power_w = self._from_w + (self._to_w - self._from_w) * ramped // self._ramp_s
            over_s = np.clip(middle_s - self._ends_s, 0, self._ramp_s)
            power_w -= power_w * over_s // self._ramp_s
            room_ws = np.maximum(self._stored_ws - self._floor * self._per_permille, 0)
            self.power_w = np.minimum(np.minimum(power_w, self._most_w), room_ws // seconds)
            self._stored_ws = self._stored_ws - self.power_w * seconds
            self.given_ws += self.power_w * seconds
            self._now_s += seconds

    @property
    def soc_permille(self) -> IntColumn:
        """Return each home's charge now."""
        return self._stored_ws // self._per_permille

    def samples(self) -> TelemetryBatch:
        """Return what the reporting homes say now."""
        rows, fleet = np.flatnonzero(self.reporting), self._fleet
        return TelemetryBatch(
            site_no=rows,
            at_s=np.full(len(rows), self._now_s, dtype=np.int64),
            epoch=self._epoch[rows],
            sequence=self._sequence[rows],
            soc_permille=self.soc_permille[rows],
            battery_w=self.power_w[rows],
            discharge_limit_w=fleet.discharge_limit_w[rows],
            energy_full_wh=fleet.energy_full_wh[rows],
            reserve_permille=fleet.home_reserve_permille[rows],
            discharged_wh=self.given_ws[rows] // 3600,
            charged_wh=np.zeros(len(rows), dtype=np.int64),
            grid_connected=~fleet.islanded[rows],
            storm_mode=fleet.storm_mode[rows],
            opted_out=fleet.opted_out_at_home[rows],
            faulted=fleet.faulted[rows],
        )

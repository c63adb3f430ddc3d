"""What each commanded home is proved to do: states from measured power, and the power that counts.

An acknowledgement is never proof. Knows leases and samples; decides nothing about who is asked next.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from vpp.domain.fleet import FleetState
from vpp.domain.lease import Leases, Standing
from vpp.domain.quantities import BoolColumn, IntColumn

TOLERANCE_PERMILLE = 100
TOLERANCE_W = 200


class ProofState(IntEnum):
    """How far a site's command is proved."""

    IDLE = 0  # not commanded
    SENT = 1
    STARTING = 2
    DELIVERING = 3
    SHORT = 4
    REFUSED = 5
    NO_ANSWER = 6
    SILENT = 7
    RELEASED = 8


@dataclass(frozen=True, slots=True)
class Response:
    """How fast homes are expected to answer, in seconds."""

    spread_s: int
    ramp_s: int
    sample_period_s: int  # between samples while commanded


@dataclass(frozen=True, slots=True)
class Assessment:
    """One row per site: its state, and the power that counts towards the target."""

    state: IntColumn
    effective_w: IntColumn

    def count(self, state: ProofState) -> int:
        """Return how many sites are in a state."""
        return int((self.state == state).sum())


def assess(fleet: FleetState, leases: Leases, response: Response, now_s: int) -> Assessment:
    """Return what every site is proved to do now.

    *Starting* counts at the modelled power until the spread delay, the ramp and two samples have
    passed; *delivering* and *short* at what is measured, at most the setpoint; *silent*, with no sample
    for two periods, at its last proven power, fading to zero at the lease's end.
    """
    running = leases.discharging(now_s)
    setpoint_w = leases.setpoint_w.astype(np.int64)
    measured_w = np.clip(fleet.battery_w, 0, setpoint_w)
    begins_s = leases.first_start_s
    settled_s = begins_s + response.spread_s + response.ramp_s + 2 * response.sample_period_s
    starting = running & (now_s < settled_s)
    quiet_since = np.maximum(fleet.sampled_at_s, leases.first_start_s)
    silent = running & ~starting & ((now_s - quiet_since > 2 * response.sample_period_s) | ~fleet.online)
    enough_w = setpoint_w - np.maximum(setpoint_w * TOLERANCE_PERMILLE // 1000, TOLERANCE_W)
    delivering = running & ~starting & ~silent & (measured_w >= enough_w)
    state = np.select(
        [
            running & (leases.standing == Standing.REJECTED),
            running & (leases.standing == Standing.NO_ANSWER),
            running & starting & (leases.standing == Standing.WAITING),
            starting, silent, delivering, running,
            (leases.setpoint_w == 0) & (leases.standing != Standing.NONE),
        ],
        [
            ProofState.REFUSED, ProofState.NO_ANSWER, ProofState.SENT, ProofState.STARTING,
            ProofState.SILENT, ProofState.DELIVERING, ProofState.SHORT, ProofState.RELEASED,
        ],
        default=ProofState.IDLE,
    )  # fmt: skip
    modelled_w = _modelled_w(setpoint_w, begins_s, response, now_s)
    left_s = np.maximum(leases.expires_at_s - now_s, 0)
    whole_s = np.maximum(leases.expires_at_s - quiet_since, 1)
    fading_w = measured_w * np.minimum(left_s, whole_s) // whole_s
    effective_w = np.select(
        [_is(state, ProofState.SENT, ProofState.STARTING), state == ProofState.SILENT,
         _is(state, ProofState.DELIVERING, ProofState.SHORT, ProofState.NO_ANSWER)],
        [modelled_w, fading_w, measured_w],
        default=0,
    )  # fmt: skip
    return Assessment(state.astype(np.int64), effective_w.astype(np.int64))


def _is(state: IntColumn, *states: ProofState) -> BoolColumn:
    return np.isin(state, states)


def _modelled_w(setpoint_w: IntColumn, begins_s: IntColumn, response: Response, now_s: int) -> IntColumn:
    """Return the power of a fleet that starts evenly over the spread and ramps up."""
    passed_s = np.clip(now_s - begins_s, 0, response.spread_s + response.ramp_s)
    modelled_w: IntColumn = setpoint_w * passed_s // max(response.spread_s + response.ramp_s, 1)
    return modelled_w

"""What control knows between ticks: leader epoch, leases, proofs, each event's plan, and who is held back.

It is rebuilt from what was committed; nothing in it is the only place where something is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from vpp.domain.brake import RampLog
from vpp.domain.burden import SeasonUse
from vpp.domain.command import AckBatch, Refusal, Unrecorded
from vpp.domain.delivery import SiteStatus
from vpp.domain.enrollment import OptOut
from vpp.domain.event_plan import EventPlan
from vpp.domain.fleet import FleetState, Names, TelemetryBatch
from vpp.domain.grid_event import EventHistory, GridSource
from vpp.domain.interval import to_epoch
from vpp.domain.lease import InForce, Leases, doubt_releases, note_acks, note_in_force
from vpp.domain.proof import Assessment, ProofLog, ProofState
from vpp.domain.quantities import BoolColumn, IntColumn, bounded

HOLD_BACK_FIRST_S = 300
HOLD_BACK_MOST_S = 3600


@dataclass(frozen=True, slots=True)
class Facts:
    """What owners, operators and the grid said, as read at one moment."""

    read_at: datetime
    histories: Sequence[EventHistory]
    sources: Mapping[str, GridSource]
    opt_outs: Sequence[OptOut]


@dataclass(slots=True)
class Board:
    """What control knows between ticks: leader epoch, last tick, leases, and each event's plan."""

    epoch: int
    tick_number: int
    leases: Leases
    events: Names = field(default_factory=Names)
    plans: dict[str, EventPlan] = field(default_factory=dict)
    held_back_until_s: IntColumn = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    held_back_for_s: IntColumn = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    proof: ProofLog = field(default_factory=ProofLog)
    judged_from_s: int = 0
    assessment: Assessment | None = None
    facts: Facts | None = None
    ramp: RampLog = field(default_factory=RampLog)
    season: SeasonUse = field(default_factory=SeasonUse)
    unrecorded: list[Unrecorded] = field(default_factory=list)  # what left while the database was down
    stops: int = 0  # how often everything was stopped ahead of the database
    stored: FleetState = field(default_factory=FleetState)  # the samples as the store has them

    def grow(self, sites: int) -> None:
        """Make room for newly enrolled sites."""
        self.leases.grow(sites)
        self.proof.grow(sites)
        missing = sites - len(self.held_back_until_s)
        if missing > 0:
            pad = np.zeros(missing, dtype=np.int64)
            self.held_back_until_s = np.append(self.held_back_until_s, pad)
            self.held_back_for_s = np.append(self.held_back_for_s, pad)
            self.plans = {event_id: plan.grown(sites) for event_id, plan in self.plans.items()}


def hear(board: Board, acks: AckBatch, now: datetime) -> bool:
    """Write acknowledgements to the board; return whether a refusal calls for another tick.

    A site that refused is held back for five minutes, doubled each time up to an hour: asking again
    every tick would only be refused again.
    """
    if not len(acks):
        return False
    refused = note_acks(board.leases, acks, board.epoch)
    lasting = [row for row in refused if acks.refusal[row] is not Refusal.STALE_SEQUENCE]
    hold_back(board, acks.site_no[lasting], to_epoch(now))
    return bool(len(refused))


def hear_in_force(board: Board, samples: TelemetryBatch, online: Sequence[SiteStatus]) -> bool:
    """Compare what homes say they hold with what they accepted; return whether one must be told again.

    A home that just came online and has not answered its release may never have heard it.
    """
    live = [
        (status.site_no, to_epoch(status.at), status.epoch, status.sequence) for status in online if status.at
    ]
    back = unheard = behind = False
    if live:
        says = np.array(live, dtype=np.int64).T
        back = note_in_force(board.leases, InForce(*says), at_once=True)
        unheard = doubt_releases(board.leases, says[0])
    if len(samples):
        in_samples = InForce(samples.site_no, samples.at_s, samples.epoch, samples.sequence)
        behind = note_in_force(board.leases, in_samples, at_once=False)
    return behind or back or unheard


def hold_back(board: Board, sites: IntColumn, now_s: int) -> None:
    """Ask no more of these sites for a while, doubled each time up to the most."""
    if not len(sites):
        return
    wait_s = bounded(2 * board.held_back_for_s[sites], HOLD_BACK_FIRST_S, HOLD_BACK_MOST_S)
    board.held_back_for_s[sites] = wait_s
    board.held_back_until_s[sites] = now_s + wait_s


def newly_short(board: Board, assessment: Assessment, now_s: int) -> BoolColumn:
    """Return the sites that proved short and are not held back yet."""
    return assessment.sites_in(ProofState.SHORT) & (board.held_back_until_s <= now_s)

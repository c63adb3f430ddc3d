"""What control knows between ticks: leader epoch, leases, proofs, each event's plan, and who is held back.

It is rebuilt from what was committed; nothing in it is the only place where something is known.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

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
from vpp.domain.known_leases import KnownLeases
from vpp.domain.lease import InForce, Issued, Leases, doubt_releases, note_acks, note_in_force
from vpp.domain.plan_revision import Lowered
from vpp.domain.proof import Assessment, ProofLog, ProofState
from vpp.domain.quantities import BoolColumn, IntColumn, bounded, rows_of

HOLD_BACK_FIRST_S = 300
HOLD_BACK_MOST_S = 3600
HOLDS_READ_BACK = timedelta(hours=3)
"""The doublings up to an hour take less: a hold that began before that begins again at five minutes."""
BELIEVED_AGAIN_S = 30
"""One sample's period: a home that goes and comes without end gets no command for each of its words."""
_AROUND_A_REFUSAL_S = 60  # a home's clock is within 30 s of ours, and a plan follows within seconds


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
    issued: Issued
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
    stops: int = 0  # how often everything was stopped
    stored: FleetState = field(default_factory=FleetState)  # the samples as the store has them
    believed_at_s: dict[int, int] = field(default_factory=dict)  # when a home's own word was last believed
    astray_at_s: int = 0  # when a home last named a command that nobody is known to have issued
    known: KnownLeases | None = None  # the leases as the store tells of them; None: it is told all afresh

    def grow(self, sites: int) -> None:
        """Make room for newly enrolled sites."""
        self.leases.grow(sites)
        self.proof.grow(sites)
        if self.known is not None:
            self.known.grow(sites)
        missing = sites - len(self.held_back_until_s)
        if missing > 0:
            pad = np.zeros(missing, dtype=np.int64)
            self.held_back_until_s = np.append(self.held_back_until_s, pad)
            self.held_back_for_s = np.append(self.held_back_for_s, pad)
            self.plans = {event_id: plan.grown(sites) for event_id, plan in self.plans.items()}


def keep_in_process(board: Board, known: Board) -> None:
    """Give a board that was read back what the same process saw and no store tells: proofs and holds."""
    board.held_back_until_s, board.held_back_for_s = known.held_back_until_s, known.held_back_for_s
    board.proof, board.judged_from_s = known.proof, known.judged_from_s
    board.grow(len(board.leases))


def hear(board: Board, acks: AckBatch, now: datetime) -> bool:
    """Write acknowledgements to the board; return whether a refusal calls for another tick.

    A site that refused is held back for five minutes, doubled each time up to an hour: asking again
    every tick would only be refused again.
    """
    if not len(acks):
        return False
    refused = note_acks(board.leases, acks, board.epoch)
    lasting = [row for row in refused if _lasts(acks.refusal[row])]
    hold_back(board, acks.site_no[lasting], to_epoch(now))
    return bool(len(refused))


def hear_in_force(board: Board, samples: TelemetryBatch, online: Sequence[SiteStatus], now: datetime) -> bool:
    """Compare what homes say they hold with what they accepted; return whether one must be told again.

    A home that just came online and has not answered its release may never have heard it. Its word is
    believed once in a sample's period: whatever it says in between, its samples say too.
    """
    now_s = to_epoch(now)
    astray = np.count_nonzero(board.leases.astray)
    live = [
        (status.site_no, to_epoch(status.at), status.epoch, status.sequence)
        for status in online
        if status.at and not 0 <= now_s - board.believed_at_s.get(status.site_no, 0) < BELIEVED_AGAIN_S
    ]
    back = unheard = behind = False
    if live:
        says = np.array(live, dtype=np.int64).T
        known = board.leases.behind[says[0]]
        back = note_in_force(board.leases, InForce(*says), board.issued, at_once=True)
        unheard = doubt_releases(board.leases, says[0])
        doubted = says[0][board.leases.behind[says[0]] & ~known]
        board.believed_at_s |= dict.fromkeys(doubted.tolist(), now_s)
    if len(samples):
        in_samples = InForce(samples.site_no, samples.at_s, samples.epoch, samples.sequence)
        behind = note_in_force(board.leases, in_samples, board.issued, at_once=False)
    if np.count_nonzero(board.leases.astray) > astray:
        board.astray_at_s = now_s
    return behind or back or unheard


def hold_back(board: Board, sites: IntColumn, now_s: int | IntColumn) -> None:
    """Ask no more of these sites for a while, doubled each time up to the most."""
    if not len(sites):
        return
    wait_s = bounded(2 * board.held_back_for_s[sites], HOLD_BACK_FIRST_S, HOLD_BACK_MOST_S)
    board.held_back_for_s[sites] = wait_s
    board.held_back_until_s[sites] = now_s + wait_s


def hold_back_again(
    board: Board, refusals: AckBatch, lowered: Iterable[Lowered], issued_s: Mapping[int, int], now_s: int
) -> None:
    """Hold back, on a new board, who refused or proved short before a restart, for as long as then.

    Args:
        board: Holds nobody back yet.
        refusals: Stored answers, each pair of a site once.
        lowered: Whom plans lowered. Who refused at that time, or is held back then, is not held back twice.
        issued_s: When commands were issued, by sequence, as far as known. No answer came before, whatever
            a home's clock says.
        now_s: Seconds since 1970.
    """
    told = refusals.of_rows(np.flatnonzero([_lasts(each) for each in refusals.refusal]))
    least_s = np.array([issued_s.get(sequence, 0) for sequence in told.sequence.tolist()], dtype=np.int64)
    said_s = np.clip(told.at_s, np.minimum(least_s, now_s), now_s)
    causes: list[tuple[int, IntColumn, IntColumn | None]] = [
        (to_epoch(each.at), each.site_no, None) for each in lowered
    ]
    for sequence in np.unique(told.sequence):
        rows = rows_of(told.sequence == sequence)
        causes.append((int(said_s[rows].min()) - _AROUND_A_REFUSAL_S, told.site_no[rows], said_s[rows]))
    for at_s, sites, refused_s in sorted(causes, key=lambda cause: cause[0]):
        if refused_s is not None:
            hold_back(board, sites, refused_s)
        else:
            hold_back(board, sites[board.held_back_until_s[sites] <= at_s], at_s)


def _lasts(refusal: Refusal | None) -> bool:
    """Return whether asking again at once would only be refused again."""
    return refusal not in (None, Refusal.DWELL, Refusal.STALE_SEQUENCE)


def newly_short(board: Board, assessment: Assessment, now_s: int) -> BoolColumn:
    """Return the sites that proved short and are not held back yet."""
    return assessment.sites_in(ProofState.SHORT) & (board.held_back_until_s <= now_s)

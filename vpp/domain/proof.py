"""What each commanded home is proved to do: states from measured power, and the power that counts.

An acknowledgement is never proof. Knows leases and samples; decides nothing about who is asked next.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from vpp.domain.demands import LEAD
from vpp.domain.fleet import FleetState
from vpp.domain.lease import Leases, Standing
from vpp.domain.quantities import BoolColumn, IntColumn, any_of, bounded

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


_BEFORE_A_RAISE = [int(state) for state in (ProofState.IDLE, ProofState.DELIVERING, ProofState.RELEASED)]
SHORT_AFTER_SAMPLES = 2
BLIND_FROM_SITES = 10
UNPROVED = -1


@dataclass(frozen=True, slots=True)
class Response:
    """How fast homes are expected to answer, in seconds."""

    spread_s: int
    ramp_s: int
    sample_period_s: int  # between samples while commanded

    @property
    def settling_s(self) -> int:
        """Return how long after its start a site is only modelled: spread, ramp and two samples."""
        return self.spread_s + self.ramp_s + 2 * self.sample_period_s

    @property
    def silent_after_s(self) -> int:
        """Return how long after its last sample a commanded site is silent: two periods."""
        return 2 * self.sample_period_s

    @property
    def following_s(self) -> int:
        """Return how long after a raise a site is only modelled: ramp and two samples."""
        return self.ramp_s + 2 * self.sample_period_s


class ProofLog:
    """What has to be remembered of samples to judge them; columns indexed by ``site_no``.

    ``asked_w`` is the setpoint at the last look, given at ``changed_at_s``; ``sampled_w`` the one that the
    newest sample tells of. ``raised_at_s`` and ``raised_from_w`` tell of the last raise that a home needs
    time to follow. ``low_samples`` counts samples in a row under the tolerance,
    ``back_since_s`` is when a silent site reported again, ``silent`` who was silent at the last look, since
    ``silent_since_s``, and ``held_until_s`` the end of the lease that such a site is known to hold.
    ``proved_w`` is what a site gave when it was judged last, ``UNPROVED`` before that. ``blind_since_s`` is
    from when on those who fell silent are out of our sight; zero while we see.
    """

    def __init__(self, sites: int = 0) -> None:
        self.seen_at_s: IntColumn = np.zeros(sites, dtype=np.int64)
        self.back_since_s: IntColumn = np.zeros(sites, dtype=np.int64)
        self.low_samples: IntColumn = np.zeros(sites, dtype=np.int64)
        self.silent: BoolColumn = np.zeros(sites, dtype=np.bool_)
        self.silent_since_s: IntColumn = np.zeros(sites, dtype=np.int64)
        self.held_until_s: IntColumn = np.zeros(sites, dtype=np.int64)
        self.blind_since_s = 0
        self.proved_w: IntColumn = np.full(sites, UNPROVED, dtype=np.int64)
        self.asked_w: IntColumn = np.zeros(sites, dtype=np.int64)
        self.changed_at_s: IntColumn = np.zeros(sites, dtype=np.int64)
        self.sampled_w: IntColumn = np.zeros(sites, dtype=np.int64)
        self.raised_at_s: IntColumn = np.zeros(sites, dtype=np.int64)
        self.raised_from_w: IntColumn = np.zeros(sites, dtype=np.int64)

    def grow(self, sites: int) -> None:
        """Make room for newly enrolled sites."""
        missing = sites - len(self.seen_at_s)
        if missing <= 0:
            return
        pad = np.zeros(missing, dtype=np.int64)
        self.seen_at_s = np.append(self.seen_at_s, pad)
        self.back_since_s = np.append(self.back_since_s, pad)
        self.low_samples = np.append(self.low_samples, pad)
        self.silent = np.append(self.silent, pad.astype(np.bool_))
        self.silent_since_s = np.append(self.silent_since_s, pad)
        self.held_until_s = np.append(self.held_until_s, pad)
        self.proved_w = np.append(self.proved_w, pad + UNPROVED)
        self.asked_w = np.append(self.asked_w, pad)
        self.changed_at_s = np.append(self.changed_at_s, pad)
        self.sampled_w = np.append(self.sampled_w, pad)
        self.raised_at_s = np.append(self.raised_at_s, pad)
        self.raised_from_w = np.append(self.raised_from_w, pad)


@dataclass(frozen=True, slots=True)
class Assessment:
    """One row per site: its state, the power it is thought to give, and what planning counts it at.

    A starting site gives its modelled power and counts at its setpoint: what is on its way is not asked
    for twice. ``waiting`` marks those nobody can judge now. ``unseen`` marks those of the silent who fell
    silent so many at once that it is we who cannot see; their leases are renewed.
    """

    state: IntColumn
    effective_w: IntColumn
    counted_w: IntColumn
    waiting: BoolColumn
    unseen: BoolColumn

    @property
    def blind(self) -> bool:
        """Return whether so many fell silent at once that it is we who cannot see."""
        return any_of(self.unseen)

    @property
    def lost(self) -> BoolColumn:
        """Return the silent sites that are not renewed: it is they who are gone."""
        lost: BoolColumn = self.sites_in(ProofState.SILENT) & ~self.unseen
        return lost

    def count(self, state: ProofState) -> int:
        """Return how many sites are in a state."""
        return int((self.state == state).sum())

    def sites_in(self, state: ProofState) -> BoolColumn:
        """Return which sites are in a state."""
        found: BoolColumn = self.state == int(state)
        return found


@dataclass(frozen=True, slots=True)
class Output:
    """What sites give, as people are told, one row per site in watts; zero for a site that was not asked for.

    ``measured_w`` is battery output; a silent site's is what control counts it at, and stands in
    ``estimated_w`` too.
    """

    measured_w: IntColumn
    estimated_w: IntColumn


def output_of(fleet: FleetState, assessment: Assessment | None, sites: BoolColumn) -> Output:
    """Return what these sites give now; whoever shows delivered power sums this.

    Their last sample is not what silent homes give: it is the one number of them that is surely old.
    """
    none = np.zeros(len(fleet), dtype=np.int64)
    if assessment is None:
        return Output(np.where(sites, np.maximum(fleet.battery_w, 0), 0), none)
    known = len(assessment.state)
    silent: BoolColumn = np.zeros(len(fleet), dtype=np.bool_)
    silent[:known] = assessment.sites_in(ProofState.SILENT)
    estimated_w = none
    estimated_w[:known] = np.where(silent[:known] & sites[:known], assessment.effective_w, 0)
    heard_w = np.where(sites & ~silent, np.maximum(fleet.battery_w, 0), 0)
    return Output(heard_w + estimated_w, estimated_w)


def state_now(assessment: Assessment | None, leases: Leases, log: ProofLog) -> IntColumn:
    """Return each site's state as people are told it, one row per site.

    It is that of the last look, except of who was told something else since: a raise is sent or starting,
    whatever was delivered before it, and who was told to stop is released.

    Args:
        assessment: The last look, None before the first; may be shorter than ``leases``.
        leases: What every site was told.
        log: What was seen by the last look; at least as long as ``leases``.
    """
    sites = len(leases)
    state = np.full(sites, int(ProofState.IDLE), dtype=np.int64)
    if assessment is not None:
        known = min(sites, len(assessment.state))
        state[:known] = assessment.state[:known]
    setpoint_w, seen_w = leases.setpoint_w.astype(np.int64), log.asked_w[:sites]
    answered_none = leases.standing == int(Standing.WAITING)
    rises = setpoint_w - seen_w > _tolerance_w(setpoint_w)
    begins: BoolColumn = rises & np.isin(state, _BEFORE_A_RAISE)
    state[begins] = np.where(answered_none, int(ProofState.SENT), int(ProofState.STARTING))[begins]
    state[(setpoint_w == 0) & (seen_w > 0)] = int(ProofState.RELEASED)
    return state


def assess(
    fleet: FleetState, leases: Leases, log: ProofLog, response: Response, *, now_s: int, judged_from_s: int
) -> Assessment:
    """Return what every site is proved to do now, and write what was seen into the log.

    *Starting* until the spread delay, the ramp and two samples have passed, and after a raise until the
    ramp and two samples have; *delivering* and *short* at what is measured, at most the setpoint;
    *silent*, with no sample for two periods, at its last proven power, fading to zero at the end of the
    lease it is known to hold: at nothing where none of its samples is younger than its start. Who never
    answered and does not report is silent without waiting for its start. Nobody is judged before
    ``judged_from_s`` or while the event winds down: those count at their setpoint, or at what they proved
    before its end came near, so that the plan does not move in the last minutes. Who delivered stays
    *delivering* then; who is silent already stays silent, and fades on.
    """
    running = leases.discharging(now_s)
    setpoint_w = leases.setpoint_w.astype(np.int64)
    measured_w = bounded(fleet.battery_w, 0, setpoint_w)
    followed_w = bounded(fleet.battery_w + _rise_w(fleet, leases, log, setpoint_w, response), 0, setpoint_w)
    begins_s = np.maximum(leases.first_start_s, log.back_since_s)
    ending = now_s >= leases.event_ends_at_s - response.settling_s
    judged = (now_s >= judged_from_s) & ~ending
    settling = (now_s < begins_s + response.settling_s) | ~judged
    kept_up = fleet.battery_w >= log.asked_w - _tolerance_w(log.asked_w)
    _note_raises(leases, log, setpoint_w, running & (settling | kept_up))
    unjudged = settling | (now_s < log.raised_at_s + response.following_s)
    offline = ~fleet.online & (fleet.sampled_at_s > 0)  # after a restart nothing is known yet
    quiet_s = now_s - np.maximum(fleet.sampled_at_s, begins_s)
    quiet = ~settling & (quiet_s > response.silent_after_s)
    unreached = judged & _unreached(fleet, leases, response, now_s)
    # Nobody falls silent any more while the event winds down; who is silent stays so until a sample comes.
    still = ending & log.silent & (fleet.sampled_at_s <= log.seen_at_s)
    silent = running & (offline | quiet | unreached | still)
    unseen = _note_silence(leases, log, silent, running, response, now_s)
    # The two samples that a start waits for are two that may prove it short.
    arrived_s = np.maximum(begins_s + response.spread_s, log.raised_at_s) + response.ramp_s
    low = setpoint_w - followed_w > _tolerance_w(setpoint_w)
    _note_samples(fleet, log, low, running & judged & (fleet.sampled_at_s > arrived_s))
    short = running & ~unjudged & ~silent & (log.low_samples >= SHORT_AFTER_SAMPLES)
    proved_w = followed_w
    if any_of(silent):
        proved_w = np.where(silent, _fading_w(fleet, leases, log, measured_w, now_s), followed_w)
    waiting = running & unjudged & ~silent
    log.proved_w = np.where(running & unjudged, log.proved_w, np.where(running, proved_w, UNPROVED))
    known = ending & (log.proved_w != UNPROVED)
    asked_w = np.where(known, np.minimum(log.proved_w, setpoint_w), setpoint_w)
    kept = known & (setpoint_w - asked_w <= _tolerance_w(setpoint_w))
    shown_w, modelled = np.minimum(proved_w, measured_w), waiting & ~known
    if any_of(modelled):
        modelled_w = np.maximum(_modelled_w(setpoint_w, begins_s, log, response, now_s), measured_w)
        shown_w = np.where(modelled, modelled_w, shown_w)
    counts = running & (leases.standing != int(Standing.REJECTED))
    return Assessment(
        _states(leases, running=running, unjudged=unjudged & ~kept, silent=silent, short=short),
        np.where(counts, shown_w, 0),
        np.where(counts, np.where(waiting, asked_w, proved_w), 0),
        waiting,
        unseen,
    )


def _note_silence(
    leases: Leases, log: ProofLog, silent: BoolColumn, running: BoolColumn, response: Response, now_s: int
) -> BoolColumn:
    """Remember who is silent since when; return those of them whom we cannot see.

    We are blind where more than half of what is commanded fell silent within two periods; homes that die one
    after the other are dead. It ends when half of them are seen again, or were told nothing they heard for a
    whole lease: what such a home was last known to hold has run out, and nobody must be renewed for ever.
    """
    fell = silent & ~log.silent
    known_s = leases.known_until_s()
    if not any_of(silent | log.silent):  # nearly always
        log.silent_since_s, log.held_until_s, log.silent = np.zeros_like(known_s), known_s, silent
        log.blind_since_s = 0
        return silent
    log.back_since_s[log.silent & ~silent & running] = now_s
    log.silent_since_s = np.where(silent, np.where(fell, now_s, log.silent_since_s), 0)
    unheard = silent & ~fell & (leases.standing != Standing.ACCEPTED)
    log.held_until_s = np.where(unheard, np.minimum(log.held_until_s, known_s), known_s)
    log.silent = silent
    since_s = log.blind_since_s or now_s - response.silent_after_s
    unseen = silent & (log.silent_since_s >= since_s) & (log.held_until_s > now_s)
    commanded = int(np.count_nonzero(running))
    blind = commanded >= BLIND_FROM_SITES and 2 * int(np.count_nonzero(unseen)) > commanded
    log.blind_since_s = since_s if blind else 0
    return unseen if blind else np.zeros_like(unseen)


def _fading_w(
    fleet: FleetState, leases: Leases, log: ProofLog, measured_w: IntColumn, now_s: int
) -> IntColumn:
    """Return what is left of the last power of sites that fell silent: nothing at the lease's end.

    It fades from the sample itself, not from when that was heard.
    """
    last_w = np.where(fleet.sampled_at_s > leases.first_start_s, measured_w, 0)
    left_s = np.maximum(log.held_until_s - now_s, 0)
    whole_s = np.maximum(log.held_until_s - np.maximum(fleet.sampled_at_s, leases.first_start_s), 1)
    fading_w: IntColumn = last_w * np.minimum(left_s, whole_s) // whole_s
    return fading_w


def _unreached(fleet: FleetState, leases: Leases, response: Response, now_s: int) -> BoolColumn:
    """Return the sites that neither answer nor report: a home that got its command would do both.

    One that accepted anything of the same run was reached, and what it does now is not known.
    """
    quiet = now_s - fleet.sampled_at_s > response.silent_after_s
    told_from_s = leases.first_start_s - int(LEAD.total_seconds())
    never: BoolColumn = (leases.standing == int(Standing.NO_ANSWER)) & (leases.acked_at_s < told_from_s)
    return never & quiet


def _tolerance_w(setpoint_w: IntColumn) -> IntColumn:
    tolerance_w: IntColumn = np.maximum(setpoint_w * TOLERANCE_PERMILLE // 1000, TOLERANCE_W)
    return tolerance_w


def _rise_w(
    fleet: FleetState, leases: Leases, log: ProofLog, setpoint_w: IntColumn, response: Response
) -> IntColumn:
    """Return by how much each site was raised since the setpoint that its newest sample tells of.

    A sample is a mean of one period: it tells of a new power when all of that lies behind the ramp. A
    small raise is counted as followed until then, or it would be asked of somebody else once more.
    """
    log.changed_at_s = np.where(setpoint_w != log.asked_w, leases.issued_at_s, log.changed_at_s)
    tells = fleet.sampled_at_s >= log.changed_at_s + response.ramp_s + response.sample_period_s
    log.sampled_w = np.where(tells, setpoint_w, log.sampled_w)
    rise_w: IntColumn = np.maximum(setpoint_w - log.sampled_w, 0)
    return rise_w


def _note_raises(leases: Leases, log: ProofLog, setpoint_w: IntColumn, kept_up: BoolColumn) -> None:
    """Remember raises that need time to follow; one does not excuse a site that was behind before it."""
    raised = kept_up & (log.asked_w > 0) & (setpoint_w - log.asked_w > _tolerance_w(setpoint_w))
    if any_of(raised):
        log.raised_at_s = np.where(raised, leases.issued_at_s, log.raised_at_s)
        log.raised_from_w = np.where(raised, log.asked_w, log.raised_from_w)
    log.asked_w = setpoint_w.copy()


def _note_samples(fleet: FleetState, log: ProofLog, low: BoolColumn, judged: BoolColumn) -> None:
    """Count new samples in a row that fell short; anything else begins the count again."""
    fresh = fleet.sampled_at_s > log.seen_at_s
    log.low_samples = np.where(
        judged & low, log.low_samples + fresh, np.where(fresh | ~judged, 0, log.low_samples)
    )
    log.seen_at_s = fleet.sampled_at_s.copy()


def _states(
    leases: Leases, *, running: BoolColumn, unjudged: BoolColumn, silent: BoolColumn, short: BoolColumn
) -> IntColumn:
    standing = leases.standing
    cases = (  # the first that applies
        (running & (standing == int(Standing.REJECTED)), ProofState.REFUSED),
        (silent, ProofState.SILENT),
        (running & (standing == int(Standing.NO_ANSWER)), ProofState.NO_ANSWER),
        (running & unjudged & (standing == int(Standing.WAITING)), ProofState.SENT),
        (running & unjudged, ProofState.STARTING),
        (short, ProofState.SHORT),
        (running, ProofState.DELIVERING),
        ((leases.setpoint_w == 0) & (standing != int(Standing.NONE)), ProofState.RELEASED),
    )
    state: IntColumn = np.full(len(leases), int(ProofState.IDLE), dtype=np.int64)
    for applies, each in reversed(cases):
        state[applies] = int(each)
    return state


def _modelled_w(
    setpoint_w: IntColumn, begins_s: IntColumn, log: ProofLog, response: Response, now_s: int
) -> IntColumn:
    """Return the power of a fleet that starts evenly over the spread, and ramps after a raise."""
    whole_s = max(response.spread_s + response.ramp_s, 1)
    started_w = setpoint_w * bounded(now_s - begins_s, 0, whole_s) // whole_s
    ramp_s = max(response.ramp_s, 1)
    from_w = np.minimum(log.raised_from_w, setpoint_w)
    followed_w = from_w + (setpoint_w - from_w) * bounded(now_s - log.raised_at_s, 0, ramp_s) // ramp_s
    modelled_w: IntColumn = np.minimum(started_w, followed_w)
    return modelled_w

"""Which command each home holds now, as columns, and which commands are due.

A command is a lease: it ends by itself. ``Leases`` is rebuilt from committed ticks and stored
acknowledgements, so a restart knows what it knew and resends nothing in bulk.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from vpp.domain.command import AckBatch, Action, CommandBatch, Pair, Refusal
from vpp.domain.interval import to_epoch
from vpp.domain.quantities import BoolColumn, IntColumn, any_of, first_of_runs, last_of_runs, rows_of

NO_EVENT = -1
RESENDS = 3
DWELL_S = 60
CROSSING_S = 20  # a sample measured so soon after a command was issued may have crossed it
RELEASE_AGAIN_S = 5  # control may be woken several times a second; a release is not repeated that fast


class Standing(IntEnum):
    """What is known about the newest command of a site."""

    NONE = 0  # nothing was ever sent
    WAITING = 1
    ACCEPTED = 2
    REJECTED = 3
    NO_ANSWER = 4  # resent three times in vain; silent until its next renewal
    DWELLING = 5  # the battery just changed direction; told again when it may change once more


# A column is compared with a plain number in a fifth of the time that a member of an enumeration takes.
_WAITING, _ACCEPTED, _REJECTED, _NO_ANSWER, _DWELLING = (int(standing) for standing in tuple(Standing)[1:])


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """How long leases last and when a command is sent again, in seconds."""

    lease_s: int
    ack_timeout_s: int


_LONG = (
    "sequence", "issued_at_s", "expires_at_s", "running_until_s", "accepted_until_s", "event_ends_at_s",
    "first_start_s", "acked_epoch", "acked_sequence", "acked_at_s", "behind_at_s",
)  # fmt: skip
_SHORT = ("setpoint_w", "floor_permille", "event_no")
_TINY = ("standing", "resends")
_FLAGS = ("behind", "astray")


class Leases:
    """The newest command of every site; all columns are indexed by ``site_no``.

    ``setpoint_w`` is zero after a release. ``running_until_s`` is the end of the last discharge lease
    that may still run at the home, also when a release, or a shorter one, has been sent since and is not
    accepted yet; ``accepted_until_s`` that of the last one it accepted. ``first_start_s`` is when
    the present run of discharges for ``event_no`` was first to start. The ``acked`` pair is the newest one
    that the home accepted, at ``acked_at_s`` by its own clock; a home that is ``behind`` has said since that
    it holds an older one, or its owner spoke before it answered. ``behind_at_s`` is when a sample said so
    first, zero when none does. One that is ``astray`` said, since this leader began, that it holds a
    command nobody is known to have issued.
    """

    sequence: IntColumn
    issued_at_s: IntColumn
    expires_at_s: IntColumn
    running_until_s: IntColumn
    accepted_until_s: IntColumn
    event_ends_at_s: IntColumn
    first_start_s: IntColumn
    acked_epoch: IntColumn
    acked_sequence: IntColumn
    acked_at_s: IntColumn
    behind_at_s: IntColumn
    behind: BoolColumn
    astray: BoolColumn
    setpoint_w: "np.ndarray[tuple[int], np.dtype[np.int32]]"
    floor_permille: "np.ndarray[tuple[int], np.dtype[np.int32]]"
    event_no: "np.ndarray[tuple[int], np.dtype[np.int32]]"
    standing: "np.ndarray[tuple[int], np.dtype[np.int8]]"
    resends: "np.ndarray[tuple[int], np.dtype[np.int8]]"

    def __init__(self, sites: int = 0) -> None:
        self._sites = 0
        for names, kind in ((_LONG, np.int64), (_SHORT, np.int32), (_TINY, np.int8), (_FLAGS, np.bool_)):
            for name in names:
                setattr(self, name, np.zeros(0, dtype=kind))
        self.grow(sites)

    def __len__(self) -> int:
        return self._sites

    def grow(self, sites: int) -> None:
        """Make every column at least ``sites`` long; new sites hold nothing."""
        if sites <= self._sites:
            return
        for name in _LONG + _SHORT + _TINY + _FLAGS:
            old = getattr(self, name)
            new = np.zeros(sites, dtype=old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
        self.event_no[self._sites :] = NO_EVENT
        self._sites = sites

    def discharging(self, now_s: int) -> BoolColumn:
        """Return the sites whose newest command is a discharge that has not ended."""
        running: BoolColumn = (self.setpoint_w > 0) & (self.expires_at_s > now_s)
        return running

    def known_until_s(self) -> IntColumn:
        """Return until when each home is known to hold a lease: the last accepted, else the newest sent."""
        accepted = self.accepted_until_s > self.first_start_s
        known_s: IntColumn = np.where(
            accepted, np.minimum(self.accepted_until_s, self.expires_at_s), self.expires_at_s
        )
        return known_s

    def unfinished(self, now_s: int) -> bool:
        """Return whether a lease may still run, or a home is behind."""
        return any_of(self.running_until_s > now_s) or any_of(self.behind)


def note_sent(leases: Leases, batch: CommandBatch, event_no: int) -> None:
    """Write a committed batch into the columns, as sent."""
    rows, order = batch.order.site_no, batch.order
    now_s = to_epoch(batch.issued_at)
    expires_s = to_epoch(order.expires_at)
    discharge = order.action is Action.DISCHARGE
    same = (leases.event_no[rows] == event_no) & (leases.expires_at_s[rows] > now_s)
    if discharge:
        again = same & (leases.setpoint_w[rows] == batch.setpoint_w) & (leases.standing[rows] == _WAITING)
        dwelt = leases.standing[rows] == _DWELLING  # it begins, or changes, only now
        running = same & (leases.setpoint_w[rows] > 0) & ~dwelt
        starts_s = to_epoch(order.starts_at)
        leases.first_start_s[rows] = np.where(running, leases.first_start_s[rows], starts_s)
        leases.resends[rows] = np.where(again, leases.resends[rows] + 1, 0)
        # A home that does not hear the newest goes on with what it has, however much sooner that one ends.
        leases.running_until_s[rows] = np.maximum(leases.running_until_s[rows], expires_s)
    else:
        leases.resends[rows] = 0
    leases.sequence[rows] = batch.sequence
    leases.issued_at_s[rows] = now_s
    leases.expires_at_s[rows] = expires_s
    leases.event_ends_at_s[rows] = to_epoch(order.event_ends_at)
    leases.setpoint_w[rows] = batch.setpoint_w
    leases.floor_permille[rows] = batch.reserve_floor_permille
    leases.event_no[rows] = event_no
    leases.standing[rows] = _WAITING
    leases.behind[rows] = False
    leases.behind_at_s[rows] = 0


# The command in force at the home ends with such a refusal; after the others it goes on.
_ENDS_WHAT_RUNS = frozenset(
    (
        Refusal.OPTED_OUT, Refusal.ISLANDED, Refusal.STORM_MODE, Refusal.BELOW_RESERVE,
        Refusal.EXPORT_NOT_PERMITTED, Refusal.FAULTED,
    )
)  # fmt: skip


def note_acks(leases: Leases, acks: AckBatch, epoch: int | None) -> IntColumn:
    """Write acknowledgements of the newest commands; return the rows of ``acks`` that are new refusals.

    A copy of a refusal is not new. A dwell is none: it passes within a minute, and what ran before goes on
    until then.
    Words about older commands, or of another leader's time, change nothing: the pair is compared. Without
    an ``epoch``, for stored answers to earlier leaders, the sequence alone decides.
    """
    if not len(acks):
        return np.zeros(0, dtype=np.int64)
    sites = acks.site_no
    current, sent = acks.sequence == leases.sequence[sites], acks.sequence <= leases.sequence[sites]
    if epoch is not None:
        current, sent = current & (acks.epoch == epoch), sent & (acks.epoch <= epoch)
    if all(refusal is None for refusal in acks.refusal):  # nearly always
        leases.standing[sites[current]] = _ACCEPTED
        _note_accepted(leases, sites[current])
        _note_newest(leases, acks, rows_of(sent))
        return np.zeros(0, dtype=np.int64)
    dwells = np.array([refusal is Refusal.DWELL for refusal in acks.refusal], dtype=np.bool_)
    refused = np.array([refusal is not None for refusal in acks.refusal], dtype=np.bool_)
    known = leases.standing[sites] == Standing.REJECTED
    ended = np.array([refusal in _ENDS_WHAT_RUNS for refusal in acks.refusal], dtype=np.bool_)
    leases.standing[sites[current & ~refused]] = _ACCEPTED
    leases.standing[sites[current & refused]] = _REJECTED
    leases.standing[sites[current & dwells]] = _DWELLING
    leases.running_until_s[sites[current & ended]] = 0
    _note_accepted(leases, sites[current & ~refused])
    _note_newest(leases, acks, rows_of(sent & ~refused))
    new = rows_of(current & refused & ~dwells & ~known)
    _, first = np.unique(sites[new], return_index=True)
    copies_left_out: IntColumn = new[first]
    return copies_left_out


def _note_accepted(leases: Leases, sites: IntColumn) -> None:
    """Write until when homes run that accepted the newest command."""
    until_s = np.where(leases.setpoint_w[sites] > 0, leases.expires_at_s[sites], 0)
    leases.running_until_s[sites] = leases.accepted_until_s[sites] = until_s


def _note_newest(leases: Leases, acks: AckBatch, rows: IntColumn) -> None:
    """Keep the newest accepted pair of each site; ``rows`` are of commands that were sent and accepted."""
    if not len(rows):
        return
    if len(rows) > 1:
        rows = rows[np.lexsort((acks.sequence[rows], acks.epoch[rows], acks.site_no[rows]))]
        sites = acks.site_no[rows]
        rows = rows[last_of_runs(sites)]
    sites, epoch, sequence = acks.site_no[rows], acks.epoch[rows], acks.sequence[rows]
    known_epoch, known_sequence = leases.acked_epoch[sites], leases.acked_sequence[sites]
    newer = (epoch > known_epoch) | ((epoch == known_epoch) & (sequence > known_sequence))
    leases.acked_epoch[sites[newer]] = epoch[newer]
    leases.acked_sequence[sites[newer]] = sequence[newer]
    leases.acked_at_s[sites[newer]] = acks.at_s[rows[newer]]


def doubt_releases(leases: Leases, sites: IntColumn | None = None) -> bool:
    """Let releases without a known answer be due again at once; return whether there are any.

    Who was killed between a commit and its send does not know that nothing left, and a home that just
    came online may have missed what was sent before: an owner must not wait. Without ``sites``, all.
    """
    rows = np.arange(len(leases)) if sites is None else sites
    waiting = (leases.standing[rows] == _WAITING) & (leases.setpoint_w[rows] == 0)
    leases.issued_at_s[rows[waiting]] = 0
    return any_of(waiting)


def doubt_answers(leases: Leases, sites: IntColumn) -> None:
    """Let these homes be told again at once where the newest command is unanswered.

    Their owners spoke: a home that never heard that it serves another event goes on with the one before,
    and an owner who says no to that one must not wait for the next renewal.
    """
    if not len(sites):
        return
    standing = leases.standing[sites]
    unheard = (standing == _WAITING) | (standing == _NO_ANSWER)
    leases.behind[sites[unheard]] = True


def note_told(leases: Leases, told: Sequence[tuple[CommandBatch, int]], acks: AckBatch) -> None:
    """Write committed batches with their events' numbers, in order, and the stored answers to each.

    An answer comes before the next command: how often one was repeated in vain counts from the last.
    """
    in_order = np.argsort(acks.sequence, kind="stable")
    sequences = acks.sequence[in_order].tolist()
    for batch, event_no in told:
        note_sent(leases, batch, event_no)
        first = bisect_left(sequences, batch.sequence)
        rows = in_order[first : bisect_right(sequences, batch.sequence, lo=first)]
        if len(rows):
            note_acks(leases, acks.of_rows(rows), None)
    note_acks(leases, acks, None)


@dataclass(frozen=True, slots=True)
class InForce:
    """Which command homes say they hold, one row for each word of a home; columns of equal length."""

    site_no: IntColumn
    at_s: IntColumn
    epoch: IntColumn
    sequence: IntColumn


@dataclass(frozen=True, slots=True)
class Issued:
    """Which commands are known to have been issued: all up to one pair, and whatever ``leading`` issues.

    The pair is the newest of the store when the leader took over. A home that holds another one heard it
    from a leader whose record is lost: the database came back from a backup.
    """

    last: Pair
    leading: int

    def lacks(self, epoch: IntColumn, sequence: IntColumn) -> BoolColumn:
        """Return which pairs nobody is known to have issued."""
        last = self.last
        beyond = (epoch > last.epoch) | ((epoch == last.epoch) & (sequence > last.sequence))
        lacking: BoolColumn = beyond & (epoch != self.leading)
        return lacking


def note_in_force(leases: Leases, said: InForce, issued: Issued, *, at_once: bool) -> bool:
    """Mark the homes that do not hold what they were told; return whether any is new.

    A home that lost its disk, or came back from before it accepted, holds an older command than the newest
    one it accepted. A live status is believed ``at_once``, whatever the home's clock says; of samples only
    the second in a row is, whatever their order of arrival. A command that is not ``issued`` is believed
    at once: no sample that comes late can name one, and it may run for half an hour.
    """
    known = np.count_nonzero(leases.behind)
    left = np.lexsort((said.at_s, said.site_no))
    while len(left):  # once for most batches: more than one word of a home is rare
        first = first_of_runs(said.site_no[left])
        rows, left = left[first], left[~first]
        sites = said.site_no[rows]
        epoch, known_epoch = said.epoch[rows], leases.acked_epoch[sites]
        other = (epoch < known_epoch) | (
            (epoch == known_epoch) & (said.sequence[rows] < leases.acked_sequence[sites])
        )
        at_s = said.at_s[rows]
        astray = issued.lacks(epoch, said.sequence[rows])
        astray &= at_once | (at_s >= leases.issued_at_s[sites] + CROSSING_S)
        other |= astray
        # A sample measured before it accepted proves nothing; a live status is ordered by its arrival.
        since = at_once | (at_s > leases.acked_at_s[sites])
        before_s = leases.behind_at_s[sites]
        twice = (before_s > 0) & (at_s != before_s)
        leases.behind[sites[other & since & (twice | at_once | astray)]] = True
        leases.astray[sites[astray & since]] = True
        leases.behind_at_s[sites[since]] = np.where(other, at_s, 0)[since]
    return bool(np.count_nonzero(leases.behind) > known)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the plans of all events together want of each site now, indexed by ``site_no``.

    ``event_no`` is the event that holds the site, ``NO_EVENT`` where none does; ``setpoint_w`` is zero
    there. ``event_ends_at_s`` belongs to that event.
    """

    event_no: IntColumn
    setpoint_w: IntColumn
    floor_permille: IntColumn
    event_ends_at_s: IntColumn


@dataclass(frozen=True, slots=True)
class Due:
    """Sites to be commanded now, sorted; no site stands in both."""

    discharge: IntColumn
    release: IntColumn


def due_commands(leases: Leases, wanted: Wanted, terms: LeaseTerms, *, silent: BoolColumn, now_s: int) -> Due:
    """Return which sites need a command in this tick.

    A discharge is due where the wanted power, floor, event or event end is not what was sent, where a
    third of the lease has passed (spread by site, so that a fleet is never renewed at once), where no
    answer came in time, three times, and where a dwell is over; never for a ``silent`` site. A release is
    due every tick, until it is acknowledged, while a lease that is no longer wanted may still run. A home
    that is behind gets the one or the other at once: it spoke, however long ago it was measured.
    """
    wants = wanted.setpoint_w > 0
    spoken_to = wants & ~silent
    live = leases.discharging(now_s) & (leases.event_no == wanted.event_no)
    changed = spoken_to & (
        ~live
        | (leases.setpoint_w != wanted.setpoint_w)
        | (leases.floor_permille != wanted.floor_permille)
        | (leases.event_ends_at_s != wanted.event_ends_at_s)
    )
    length_s = leases.expires_at_s - leases.issued_at_s
    spread_s = np.arange(len(leases)) * 2_654_435_761 % 2**32 * (length_s // 6) >> 32
    old = now_s >= leases.issued_at_s + length_s // 3 + spread_s
    renewal = spoken_to & live & old & (leases.expires_at_s < wanted.event_ends_at_s)
    unanswered = (leases.standing == _WAITING) & (now_s - leases.issued_at_s >= terms.ack_timeout_s)
    resend = spoken_to & live & unanswered & (leases.resends < RESENDS)
    resend |= spoken_to & live & (leases.standing == _DWELLING) & (now_s - leases.issued_at_s >= DWELL_S)
    leases.standing[live & unanswered & (leases.resends >= RESENDS)] = _NO_ANSWER
    # Where our clock was set back, what was said lies ahead of it: that must not keep a stop waiting.
    just_said = (leases.issued_at_s <= now_s) & (now_s - leases.issued_at_s < RELEASE_AGAIN_S)
    told = (leases.setpoint_w == 0) & just_said
    may_run = ~wants & (leases.running_until_s > now_s) & ~told
    return Due(
        discharge=rows_of(changed | renewal | resend | (wants & leases.behind)),
        release=rows_of(may_run | (~wants & leases.behind)),
    )


def leave_out(due: Due, leases: Leases, wanted: Wanted, sites: frozenset[int], *, now_s: int) -> Due:
    """Return what is due without a discharge of these sites.

    Left to itself such a home goes on with the lease it has. One that was to do less, or to serve another
    event, is released instead: other homes have been given what the plan took from it.
    """
    if not sites:
        return due
    spoken = np.isin(due.discharge, sorted(sites))
    left = due.discharge[spoken]
    less = (leases.setpoint_w[left] > wanted.setpoint_w[left]) | (
        leases.event_no[left] != wanted.event_no[left]
    )
    stopped = left[less & (leases.running_until_s[left] > now_s)]
    return Due(discharge=due.discharge[~spoken], release=np.union1d(due.release, stopped))

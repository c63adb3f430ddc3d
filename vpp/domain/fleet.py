"""The fleet as columns: one array per property, indexed by the dense integer ``site_no``.

``FleetState`` is the one mutable thing of the domain: ``collect`` writes samples into it in batches,
``control`` takes a read-only snapshot. A million sites fit in 250 MB, so nothing here is an object per
site.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vpp.domain.enrollment import Enrollment
from vpp.domain.quantities import BoolColumn, IntColumn, last_of_runs


class Names:
    """Small dense numbers for words that many sites share (programs, counties, feeders)."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        self._number_of_lower: dict[str, int] = {}
        self._word: list[str] = []

    def number(self, word: str) -> int:
        """Return the word's number, giving it the next one when it is new."""
        found = self._number.get(word)
        if found is None:
            found = self._number[word] = len(self._word)
            self._word.append(word)
            self._number_of_lower.setdefault(word.lower(), found)
        return found

    def find(self, word: str) -> int | None:
        """Return the word's number, or None when no site uses it. Case does not matter."""
        return self._number_of_lower.get(word.lower())

    def word(self, number: int) -> str:
        """Return the word behind a number."""
        return self._word[number]

    @property
    def words(self) -> tuple[str, ...]:
        """Return every word by number."""
        return tuple(self._word)

    def __len__(self) -> int:
        return len(self._word)


@dataclass(slots=True)
class Roster:
    """Who is enrolled: identities by ``site_no``, and the words behind the fleet's number columns."""

    enrollments: list[Enrollment] = field(default_factory=list)
    site_no_of: dict[str, int] = field(default_factory=dict)
    programs: Names = field(default_factory=Names)
    utilities: Names = field(default_factory=Names)
    counties: Names = field(default_factory=Names)
    feeders: Names = field(default_factory=Names)

    def site_id(self, site_no: int) -> str:
        """Return the identity behind an index."""
        return self.enrollments[site_no].site_id


@dataclass(frozen=True, slots=True)
class TelemetryBatch:
    """Samples of many sites in order of arrival, one row each; columns of equal length.

    ``grid_connected`` is false for islanded and for syncing. ``epoch`` and ``sequence`` name the
    command in force at the home, zero before any.
    """

    site_no: IntColumn
    at_s: IntColumn
    epoch: IntColumn
    sequence: IntColumn
    soc_permille: IntColumn
    battery_w: IntColumn  # mean since the last sample, positive discharges
    discharge_limit_w: IntColumn
    energy_full_wh: IntColumn
    reserve_permille: IntColumn  # the home's own
    discharged_wh: IntColumn
    charged_wh: IntColumn
    grid_connected: BoolColumn
    storm_mode: BoolColumn
    opted_out: BoolColumn
    faulted: BoolColumn

    def __len__(self) -> int:
        return len(self.site_no)


_INT_COLUMNS = (
    "sampled_at_s", "dated_s", "soc_permille", "battery_w", "discharge_limit_w", "max_discharge_w",
    "energy_full_wh", "vpp_reserve_permille", "home_reserve_permille", "in_force_sequence",
    "metered_at_s", "metered_discharged_wh", "metered_charged_wh",
)  # fmt: skip
_CODE_COLUMNS = ("program_no", "utility_no", "county_no", "feeder_no")
_FLAG_COLUMNS = (
    "enrolled", "consented", "online", "islanded", "storm_mode", "faulted", "opted_out_at_home",
    "no_is_stored", "yes_is_stored",
)  # fmt: skip


class FleetState:
    """What is known of every site now. All columns have the same length, ``len(fleet)``.

    ``sampled_at_s`` is zero for a site that never reported; what came from ahead of our clock counts as of
    when it came, and ``dated_s`` keeps the time it said. ``vpp_reserve_permille`` is ours,
    ``home_reserve_permille`` the home's; the higher binds (``binding_reserve_permille``). Of what an owner
    said at home, ``no_is_stored`` and ``yes_is_stored`` tell which word the database has; neither, after a
    start, means that it is not known. The ``metered`` columns are the newest meter reading that was stored
    since the start; ``metered_at_s`` is zero where there is none.
    """

    sampled_at_s: IntColumn
    dated_s: IntColumn
    soc_permille: IntColumn
    battery_w: IntColumn
    discharge_limit_w: IntColumn
    max_discharge_w: IntColumn
    energy_full_wh: IntColumn
    vpp_reserve_permille: IntColumn
    home_reserve_permille: IntColumn
    in_force_sequence: IntColumn
    metered_at_s: IntColumn
    metered_discharged_wh: IntColumn
    metered_charged_wh: IntColumn
    program_no: np.ndarray[tuple[int], np.dtype[np.int32]]
    utility_no: np.ndarray[tuple[int], np.dtype[np.int32]]
    county_no: np.ndarray[tuple[int], np.dtype[np.int32]]
    feeder_no: np.ndarray[tuple[int], np.dtype[np.int32]]
    enrolled: BoolColumn
    consented: BoolColumn
    online: BoolColumn
    islanded: BoolColumn
    storm_mode: BoolColumn
    faulted: BoolColumn
    opted_out_at_home: BoolColumn
    no_is_stored: BoolColumn
    yes_is_stored: BoolColumn

    def __init__(self, sites: int = 0) -> None:
        self._sites = 0
        for name in _INT_COLUMNS:
            setattr(self, name, np.zeros(0, dtype=np.int64))
        for name in _CODE_COLUMNS:
            setattr(self, name, np.zeros(0, dtype=np.int32))
        for name in _FLAG_COLUMNS:
            setattr(self, name, np.zeros(0, dtype=np.bool_))
        self.grow(sites)

    def __len__(self) -> int:
        return self._sites

    def grow(self, sites: int) -> None:
        """Make every column at least ``sites`` long; new rows are zero and false."""
        if sites <= self._sites:
            return
        for name in _INT_COLUMNS + _CODE_COLUMNS + _FLAG_COLUMNS:
            old = getattr(self, name)
            new = np.zeros(sites, dtype=old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
        self._sites = sites

    def snapshot(self) -> "FleetState":
        """Return a read-only copy that later samples do not touch."""
        copy = self.copied()
        for name in _INT_COLUMNS + _CODE_COLUMNS + _FLAG_COLUMNS:
            getattr(copy, name).flags.writeable = False
        return copy

    def copied(self) -> "FleetState":
        """Return a fleet of its own that stands as this one does now."""
        copy = FleetState()
        copy._sites = self._sites
        for name in _INT_COLUMNS + _CODE_COLUMNS + _FLAG_COLUMNS:
            setattr(copy, name, getattr(self, name).copy())
        return copy

    def newest_s(self, sites: IntColumn) -> IntColumn:
        """Return the time that each site's newest sample says; only what says later replaces it."""
        return np.maximum(self.dated_s[sites], self.sampled_at_s[sites])

    def binding_reserve_permille(self) -> IntColumn:
        """Return per site the higher of the VPP reserve and the home's own."""
        return np.maximum(self.vpp_reserve_permille, self.home_reserve_permille)


def homes_by_program(fleet: FleetState, roster: Roster) -> dict[str, int]:
    """Return how many homes each program has, by its id."""
    counts = np.bincount(fleet.program_no, minlength=len(roster.programs))
    return {word: int(counts[number]) for number, word in enumerate(roster.programs.words)}


def enroll(fleet: FleetState, roster: Roster, enrollments: Sequence[Enrollment]) -> None:
    """Give newly enrolled sites their rows; an enrolment already known is replaced in place."""
    if not enrollments:
        return
    fleet.grow(max(enrollment.site_no for enrollment in enrollments) + 1)
    for enrollment in sorted(enrollments, key=lambda each: each.site_no):
        row = enrollment.site_no
        if row == len(roster.enrollments):
            roster.enrollments.append(enrollment)
        else:
            roster.enrollments[row] = enrollment
        roster.site_no_of[enrollment.site_id] = row
        fleet.max_discharge_w[row] = enrollment.max_discharge_w
        fleet.energy_full_wh[row] = fleet.energy_full_wh[row] or enrollment.full_energy_wh
        fleet.vpp_reserve_permille[row] = enrollment.reserve_permille
        fleet.program_no[row] = roster.programs.number(enrollment.program_id)
        fleet.utility_no[row] = roster.utilities.number(enrollment.utility)
        fleet.county_no[row] = roster.counties.number(enrollment.county)
        fleet.feeder_no[row] = roster.feeders.number(enrollment.feeder)
        fleet.enrolled[row] = enrollment.withdrawn_at is None
        fleet.consented[row] = enrollment.withdrawn_at is None


def update(fleet: FleetState, batch: TelemetryBatch, *, now_s: int | None = None) -> None:
    """Write a batch of samples into the fleet; of several of one site the newest by ``at_s`` stays.

    A sample not newer than the one known is passed over, so any order and any number of copies of the
    same messages lead to the same state. With ``now_s`` none counts as of later than that.
    """
    if not len(batch):
        return
    order = np.lexsort((batch.at_s, batch.site_no))
    sites = batch.site_no[order]
    newest = order[last_of_runs(sites)]
    newest = newest[batch.at_s[newest] > fleet.newest_s(batch.site_no[newest])]
    rows, said_s = batch.site_no[newest], batch.at_s[newest]
    as_of_s = said_s if now_s is None else np.minimum(said_s, now_s)
    fleet.sampled_at_s[rows] = np.maximum(as_of_s, fleet.sampled_at_s[rows])
    fleet.dated_s[rows] = said_s
    fleet.soc_permille[rows] = batch.soc_permille[newest]
    fleet.battery_w[rows] = batch.battery_w[newest]
    fleet.discharge_limit_w[rows] = batch.discharge_limit_w[newest]
    fleet.energy_full_wh[rows] = batch.energy_full_wh[newest]
    fleet.home_reserve_permille[rows] = batch.reserve_permille[newest]
    fleet.in_force_sequence[rows] = batch.sequence[newest]
    fleet.online[rows] = True
    fleet.islanded[rows] = ~batch.grid_connected[newest]
    fleet.storm_mode[rows] = batch.storm_mode[newest]
    fleet.faulted[rows] = batch.faulted[newest]
    fleet.opted_out_at_home[rows] = batch.opted_out[newest]

"""What was known when a tick was decided: samples, proofs and answers, stored with it.

A restart begins with what the controller knew before it, and years later the same plan can be made
again. Samples are stored as differences: what changed in the fleet since it was stored last.
"""

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from vpp.domain.brake import Brake
from vpp.domain.dispatch_plan import Reason, reason_code
from vpp.domain.event_plan import Delivered, Demand, EventPlan, plan_event
from vpp.domain.fleet import FleetState
from vpp.domain.headroom import Limits
from vpp.domain.quantities import BoolColumn, IntColumn
from vpp.domain.telling import Telling

_SAMPLED = (
    "soc_permille", "battery_w", "discharge_limit_w", "energy_full_wh", "home_reserve_permille",
    "in_force_sequence",
)  # fmt: skip
_SAMPLED_FLAGS = ("online", "islanded", "storm_mode", "faulted", "opted_out_at_home")
_CONTRACT = ("max_discharge_w", "vpp_reserve_permille")
_CONTRACT_FLAGS = ("enrolled", "consented")
_FLAGS = _SAMPLED_FLAGS + _CONTRACT_FLAGS


@dataclass(frozen=True, slots=True)
class LastSamples:
    """The newest sample of some sites, with their enrolment's terms; columns of equal length.

    ``site_no`` is sorted and has no site twice. ``sampled_at_s`` is zero for a site that never
    reported. ``flags`` has one bit for each of online, islanded, storm mode, faulted, opted out at home,
    enrolled, consented, from the lowest.
    """

    site_no: IntColumn
    sampled_at_s: IntColumn
    soc_permille: IntColumn
    battery_w: IntColumn
    discharge_limit_w: IntColumn
    energy_full_wh: IntColumn
    home_reserve_permille: IntColumn
    in_force_sequence: IntColumn
    max_discharge_w: IntColumn
    vpp_reserve_permille: IntColumn
    flags: IntColumn

    def __len__(self) -> int:
        return len(self.site_no)

    def flag(self, name: str) -> BoolColumn:
        """Return one of the flags as a column."""
        found: BoolColumn = (self.flags >> _FLAGS.index(name)) & 1 == 1
        return found


@dataclass(frozen=True, slots=True)
class PlanBasis:
    """What one plan revision was made from, beside the samples; columns are indexed by ``site_no``.

    ``answered`` says that the plan before was for what is asked now. ``eligible_code`` is each site's
    reason before it was said who is not needed. ``proof`` adds 1 for short, 2 for silent, 4 for refused,
    8 for out of our sight.
    """

    event_id: str
    revision: int
    version: int
    answered: bool
    stretches: tuple[tuple[int | None, int], ...]
    authorized_w: int | None
    starts_at: datetime
    ends_at: datetime
    limits: Limits
    brake: Brake
    eligible_code: IntColumn
    counted_w: IntColumn
    proof: IntColumn


@dataclass(frozen=True, slots=True)
class TickBasis:
    """What was known at one tick: changed samples, and what its plan revisions and its orders were made from.

    ``telling`` is None for a tick from before that was kept.
    """

    number: int  # of the tick
    samples: LastSamples
    plans: tuple[PlanBasis, ...]
    telling: Telling | None = None


def changed_samples(fleet: FleetState, stored: FleetState, of_sites: BoolColumn | None = None) -> LastSamples:
    """Return what differs from what is stored: of the whole fleet, or of these sites only."""
    stored.grow(len(fleet))
    differs = np.zeros(len(fleet), dtype=np.bool_)
    for name in ("sampled_at_s", *_SAMPLED, *_CONTRACT, *_FLAGS):
        differs |= getattr(fleet, name) != getattr(stored, name)
    if of_sites is not None:
        differs &= of_sites
    rows = np.flatnonzero(differs)
    flags = np.zeros(len(rows), dtype=np.int64)
    for place, name in enumerate(_FLAGS):
        flags |= getattr(fleet, name)[rows].astype(np.int64) << place
    columns = {name: getattr(fleet, name)[rows] for name in ("sampled_at_s", *_SAMPLED, *_CONTRACT)}
    return LastSamples(site_no=rows, flags=flags, **columns)


def write_stored(fleet: FleetState, samples: LastSamples) -> None:
    """Write stored samples and terms into a fleet, whatever stood there: as it was known then."""
    if len(samples):
        fleet.grow(int(samples.site_no[-1]) + 1)
    for name in ("sampled_at_s", *_SAMPLED, *_CONTRACT):
        getattr(fleet, name)[samples.site_no] = getattr(samples, name)
    for name in _FLAGS:
        getattr(fleet, name)[samples.site_no] = samples.flag(name)


def remember(fleet: FleetState, samples: LastSamples) -> None:
    """Write stored samples into a fleet where they are newer than what it knows; its terms stay."""
    known = samples.site_no < len(fleet)
    newer = known.copy()
    newer[known] = samples.sampled_at_s[known] > fleet.sampled_at_s[samples.site_no[known]]
    rows = samples.site_no[newer]
    for name in ("sampled_at_s", *_SAMPLED):
        getattr(fleet, name)[rows] = getattr(samples, name)[newer]
    for name in _SAMPLED_FLAGS:
        getattr(fleet, name)[rows] = samples.flag(name)[newer]


def basis_of(
    before: EventPlan,
    after: EventPlan,
    demand: Demand,
    codes: IntColumn,
    limits: Limits,
    delivered: Delivered,
    brake: Brake,
) -> PlanBasis:
    """Return what a plan was made from, as the fact that is stored."""
    proof = delivered.short.astype(np.int64) + 2 * delivered.silent + 4 * delivered.refused
    proof = proof + 8 * delivered.unseen
    return PlanBasis(
        event_id=demand.event_id,
        revision=after.revision,
        version=demand.version,
        answered=before.asked == demand.asked,
        stretches=demand.stretches,
        authorized_w=demand.authorized_w,
        starts_at=demand.starts_at,
        ends_at=demand.ends_at,
        limits=limits,
        brake=brake,
        eligible_code=codes,
        counted_w=delivered.counted_w,
        proof=proof,
    )


def plan_again(before: EventPlan, basis: PlanBasis, fleet: FleetState) -> EventPlan:
    """Return the plan that follows from the one before it, its basis, and the fleet as it was known."""
    demand = Demand(
        event_id=basis.event_id,
        event_no=0,
        version=basis.version,
        program_no=0,
        targeted=basis.eligible_code != reason_code(Reason.NOT_TARGETED),
        stretches=basis.stretches,
        authorized_w=basis.authorized_w,
        starts_at=basis.starts_at,
        ends_at=basis.ends_at,
        test=False,
    )
    before = replace(before, asked=demand.asked if basis.answered else None)
    delivered = Delivered(
        counted_w=basis.counted_w,
        short=basis.proof & 1 > 0,
        silent=basis.proof & 2 > 0,
        refused=basis.proof & 4 > 0,
        unseen=basis.proof & 8 > 0,
    )
    return plan_event(before, demand, fleet, basis.eligible_code, basis.limits, delivered, basis.brake)


def contradicted(basis: PlanBasis, fleet: FleetState) -> str | None:
    """Return which site counts as eligible against its own sample, None where none does."""
    eligible = (basis.eligible_code == reason_code(Reason.SELECTED)) & (fleet.sampled_at_s > 0)
    hindrances = (
        ("islanded", fleet.islanded),
        ("in storm mode", fleet.storm_mode),
        ("faulted", fleet.faulted),
        ("opted out at home", fleet.opted_out_at_home),
        ("at its reserve", fleet.soc_permille <= fleet.binding_reserve_permille()),
    )
    for words, applies in hindrances:
        sites = np.flatnonzero(eligible & applies)
        if len(sites):
            return f"site {sites[0]} counts as eligible, and was {words}"
    return None


def first_difference(made: EventPlan, stored: EventPlan) -> str | None:
    """Return where a plan made again differs from the stored one, None where it does not."""
    for name, unit in (("requested_w", "W"), ("shortfall_w", "W"), ("level_permille", "permille")):
        again, was = getattr(made, name), getattr(stored, name)
        if again != was:
            return f"its {name.rpartition('_')[0]} would be {again} {unit}, and is {was} {unit}"
    columns = (("setpoint_w", "W"), ("floor_permille", "permille reserve"), ("reason_code", "as reason"))
    for name, unit in columns:
        again_column, was_column = getattr(made, name), getattr(stored, name)
        if len(again_column) != len(was_column):
            return f"it would name {len(again_column)} sites, and names {len(was_column)}"
        differs = np.flatnonzero(again_column != was_column)
        if len(differs):
            site = int(differs[0])
            return f"site {site} would have {again_column[site]} {unit}, and has {was_column[site]}"
    return None

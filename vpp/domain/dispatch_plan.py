"""Who discharges how much: eligibility, and level filling exact to the watt.

The fullest batteries help first and everyone who helps ends equally full. All arithmetic is on
``int64`` columns; ties go by site number, so two plans from the same inputs are equal whatever the
order of the sites, and a replayed event dispatches the same homes.
"""

import itertools
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from vpp.domain.quantities import BoolColumn, IntColumn

MIN_COMMAND_W = 500
MIN_REMAINING_S = 600
FULL_PERMILLE = 1000

# Levels are searched in steps of a millionth of a permille: one step moves less than a hundredth of a
# watt of any home, and every product below stays under 2**63 for packs up to MAX_ENERGY_FULL_WH.
_STEP_BITS = 20
_STEP = 1 << _STEP_BITS
_TOP_LEVEL = FULL_PERMILLE * _STEP
MAX_ENERGY_FULL_WH = 20_000_000

# Usable energy is 0.95 of the pack (the app scale hides 5 %): one watt-hour of pack and one permille of
# charge are 0.95 * 3600 / 1000 = 342 / 100 watt-seconds.
_WS_NUMERATOR = 342


class Reason(StrEnum):
    """Why a site does or does not take part in an event; the first that applies, in this order."""

    NO_CONSENT = "no_consent"
    NOT_ENROLLED = "not_enrolled"
    OTHER_PROGRAM = "other_program"
    NOT_TARGETED = "not_targeted"
    SEASON_CAP = "season_cap"
    OPTED_OUT = "opted_out"
    OFFLINE = "offline"
    STALE = "stale"
    ISLANDED = "islanded"
    STORM_MODE = "storm_mode"
    FAULTED = "faulted"
    EXPORT_NOT_PERMITTED = "export_not_permitted"
    BELOW_RESERVE = "below_reserve"
    HELD_BACK = "held_back"
    FEEDER_LIMIT = "feeder_limit"
    NOT_NEEDED = "not_needed"
    SELECTED = "selected"


REASONS: tuple[Reason, ...] = tuple(Reason)
"""A reason's number in a column is its position here."""


def reason_code(reason: Reason) -> int:
    """Return the number that stands for a reason in a column."""
    return REASONS.index(reason)


def first_reason(sites: int, tests: tuple[tuple[Reason, BoolColumn], ...]) -> IntColumn:
    """Return one reason code per site: the first test that is true, else ``SELECTED``.

    Args:
        sites: Length of every test column.
        tests: Reasons with the sites they apply to, in any order; ``Reason``'s own order decides.
    """
    codes = np.full(sites, reason_code(Reason.SELECTED), dtype=np.int64)
    for reason, applies in sorted(tests, key=lambda test: reason_code(test[0]), reverse=True):
        codes[applies] = reason_code(reason)
    return codes


@dataclass(frozen=True, slots=True)
class Offers:
    """What eligible sites can give, in any order, one row each.

    ``limit_w`` is the most a site may discharge now; ``soc_permille`` its charge, ``floor_permille``
    the reserve that binds, ``energy_full_wh`` the present energy of its full pack. ``feeder_no`` and
    ``zone_no`` index the caps given beside; -1 stands for no cap.
    """

    site_no: IntColumn
    limit_w: IntColumn
    energy_full_wh: IntColumn
    soc_permille: IntColumn
    floor_permille: IntColumn
    feeder_no: IntColumn
    zone_no: IntColumn

    def __len__(self) -> int:
        return len(self.site_no)


@dataclass(frozen=True, slots=True)
class Allocation:
    """Setpoints that answer a request; ``setpoint_w`` is aligned with the offers.

    ``sum(setpoint_w) + shortfall_w == requested_w`` exactly. A site that is asked for anything is asked
    for at least ``MIN_COMMAND_W``. ``level_permille`` is the charge at which those who help end,
    ``capped`` marks sites that a feeder or zone limit kept from giving more.
    """

    setpoint_w: IntColumn
    requested_w: int
    shortfall_w: int
    level_permille: int
    capped: BoolColumn


@dataclass(frozen=True, slots=True)
class Profile:
    """The rest of an event from now: the power to hold now, and the energy still owed.

    ``peak_w`` is the highest power of any stretch that is left, ``seconds`` the time for which ``now_w``
    would have to be held to give the same energy. ``now_w`` None asks for all that can be sustained.
    """

    now_w: int | None
    peak_w: int | None
    seconds: int


def profile_of(stretches: tuple[tuple[int | None, int], ...]) -> Profile:
    """Return the profile of an event's remaining stretches, the one running now first.

    Args:
        stretches: Power in watts (None: all that can be sustained) and whole seconds, in time order.

    The time is never taken under ten minutes: a home that gives all it has in the last seconds of an
    event would be asked for more than it can ramp.
    """
    now_w = stretches[0][0]
    if any(power is None for power, _ in stretches):
        seconds = sum(length for power, length in stretches if power is None or power > 0)
        return Profile(now_w, None, max(MIN_REMAINING_S, seconds))
    powers = [power for power, _ in stretches if power is not None]
    owed_ws = sum((power or 0) * length for power, length in stretches)
    seconds = -(-owed_ws // now_w) if now_w else sum(length for _, length in stretches)
    return Profile(now_w, max(powers), max(MIN_REMAINING_S, seconds))


def plan_dispatch(
    profile: Profile, offers: Offers, *, feeder_caps_w: IntColumn, zone_caps_w: IntColumn
) -> Allocation:
    """Share the power asked now over the sites, the fullest first, so that all who help end level.

    Args:
        profile: What the event asks now and until its end.
        offers: Eligible sites. The order does not matter.
        feeder_caps_w: Most power each feeder may carry, indexed by ``feeder_no``.
        zone_caps_w: The same for zones.

    Returns:
        Setpoints whose sum with the shortfall is the request, exact to the watt; no site above its
        limit, under its floor at the event's end, or asked for less than 500 W.
    """
    sustainable = _ceiling_w(profile, offers)
    ceiling_w = np.where(sustainable < MIN_COMMAND_W, 0, sustainable)
    for group_no, caps_w in ((offers.feeder_no, feeder_caps_w), (offers.zone_no, zone_caps_w)):
        ceiling_w = _within_group_caps(profile.seconds, offers, ceiling_w, group_no, caps_w)
    total_w = int(ceiling_w.sum())
    requested_w = total_w if profile.now_w is None else profile.now_w
    rows = np.flatnonzero(ceiling_w)
    setpoint_w = np.zeros(len(offers), dtype=np.int64)
    level = 0
    if requested_w >= total_w:
        setpoint_w[rows] = ceiling_w[rows]
    elif len(rows):
        target_w = np.array([requested_w], dtype=np.int64)
        watts, levels = _solve(_Share.of(offers, rows, ceiling_w, profile.seconds), _ONE_GROUP, target_w)
        setpoint_w[rows] = watts
        level = int(levels[0])
    setpoint_w.flags.writeable = False
    return Allocation(
        setpoint_w=setpoint_w,
        requested_w=requested_w,
        shortfall_w=requested_w - int(setpoint_w.sum()),
        level_permille=-(-level // _STEP),
        capped=ceiling_w < np.where(sustainable < MIN_COMMAND_W, 0, sustainable),
    )


def sustainable_w(offers: Offers, seconds: int) -> IntColumn:
    """Return the watts each site can hold for that long without passing its limit or its floor."""
    sustained_w: IntColumn = np.minimum(offers.limit_w, _usable_ws(offers) // max(MIN_REMAINING_S, seconds))
    return sustained_w


def _ceiling_w(profile: Profile, offers: Offers) -> IntColumn:
    limit_w = offers.limit_w
    if profile.now_w is not None and profile.peak_w is not None and profile.now_w < profile.peak_w:
        # A site bound by its limit at the peak gives less energy than the others: its share of every
        # smaller stretch shrinks alike, so that the shortfall is spread flat over the window.
        limit_w = limit_w * profile.now_w // profile.peak_w
    ceiling_w: IntColumn = np.minimum(limit_w, _usable_ws(offers) // profile.seconds)
    return ceiling_w


def _usable_ws(offers: Offers) -> IntColumn:
    """Return the watt-seconds each site holds above its floor."""
    above = np.maximum(offers.soc_permille - offers.floor_permille, 0)
    usable_ws: IntColumn = offers.energy_full_wh * _WS_NUMERATOR * above // 100
    return usable_ws


_ONE_GROUP: IntColumn = np.zeros(1, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Share:
    """Sites among which amounts are shared: their energy above any level, between two bounds.

    Energies are in hundredths of a watt-second: a shift instead of a division for each of a million
    sites, and the sum of them all still stays far below 2**63.
    """

    site_no: IntColumn
    scale: IntColumn  # energy_full_wh * 342
    charge: IntColumn  # in level steps
    floor: IntColumn
    lower: IntColumn
    upper: IntColumn
    unit: int  # one watt held for the time that is left; time under 2**20 s, site numbers under 2**24

    @classmethod
    def of(cls, offers: Offers, rows: IntColumn, upper_w: IntColumn, seconds: int) -> "_Share":
        """Return the share of the sites in these rows, each between nothing and its upper bound."""
        unit = seconds * 100
        return cls(
            site_no=offers.site_no[rows],
            scale=offers.energy_full_wh[rows] * _WS_NUMERATOR,
            charge=offers.soc_permille[rows] << _STEP_BITS,
            floor=offers.floor_permille[rows] << _STEP_BITS,
            lower=np.zeros(len(rows), dtype=np.int64),
            upper=upper_w[rows] * unit,
            unit=unit,
        )

    def rows(self, chosen: IntColumn | BoolColumn) -> "_Share":
        """Return the share of some of the sites."""
        columns = {
            name: getattr(self, name)[chosen]
            for name in ("site_no", "scale", "charge", "floor", "lower", "upper")
        }
        return _Share(**columns, unit=self.unit)

    def energy(self, level: IntColumn | np.int64) -> IntColumn:
        """Return each site's energy when everyone is taken down to the level."""
        above = self.charge - np.maximum(self.floor, level)
        above *= self.scale
        above >>= _STEP_BITS
        np.maximum(above, self.lower, out=above)
        np.minimum(above, self.upper, out=above)
        return above


def _solve(share: _Share, starts: IntColumn, target_w: IntColumn) -> tuple[IntColumn, IntColumn]:
    """Return watts that sum to each group's target, none under 500 W, and each group's level.

    Rows are sorted by group and ``starts`` holds each group's first row; no group's target is above
    what its sites can give. Setpoints under 500 W are dropped from the bottom, then solved again once:
    those that stay are kept at 500 W or more, so a second look is enough.
    """
    watts, levels = _fill(share, starts, target_w)
    small = (watts > 0) & (watts < MIN_COMMAND_W)
    if not small.any():
        return watts, levels
    kept = (watts >= MIN_COMMAND_W) | _kept_of_small(share, starts, target_w, watts, small)
    bounded = replace(
        share,
        lower=np.where(kept, MIN_COMMAND_W * share.unit, 0),
        upper=np.where(kept, share.upper, 0),
    )
    return _fill(bounded, starts, target_w)


def _kept_of_small(
    share: _Share, starts: IntColumn, target_w: IntColumn, watts: IntColumn, small: BoolColumn
) -> BoolColumn:
    """Return which of the small setpoints stay: the largest, as many as their watts can pay 500 W each.

    More stay where those that are left could not carry the target otherwise, as long as the target
    pays 500 W for everybody who stays.
    """
    large = watts >= MIN_COMMAND_W
    large_count = np.add.reduceat(large.astype(np.int64), starts)
    upper_w = share.upper // share.unit
    large_upper_w = np.add.reduceat(np.where(large, upper_w, 0), starts)
    paid_for = np.add.reduceat(np.where(small, watts, 0), starts) // MIN_COMMAND_W
    most = np.maximum(target_w // MIN_COMMAND_W - large_count, 0)
    rows = np.flatnonzero(small)
    group = _group_of(starts, len(watts))[rows]
    best_first = np.lexsort((share.site_no[rows], -watts[rows], group))
    rows, group = rows[best_first], group[best_first]
    firsts = np.searchsorted(group, np.arange(len(starts)))
    rank = np.arange(len(rows)) - firsts[group]
    before_w = np.cumsum(upper_w[rows]) - upper_w[rows]
    carried_w = before_w - before_w[firsts[group]] + large_upper_w[group]
    needed = np.zeros(len(starts), dtype=np.int64)
    np.add.at(needed, group, (carried_w < target_w[group]).astype(np.int64))
    keep = np.minimum(most, np.maximum(paid_for, needed))
    stays = np.zeros(len(watts), dtype=np.bool_)
    stays[rows[rank < keep[group]]] = True
    return stays


def _fill(share: _Share, starts: IntColumn, target_w: IntColumn) -> tuple[IntColumn, IntColumn]:
    """Return per site the watts at the level that meets each group's target, exact, and the levels."""
    target_w = np.minimum(target_w, np.add.reduceat(share.upper, starts) // share.unit)
    levels = _levels(share, starts, target_w * share.unit)
    watts, fraction = np.divmod(share.energy(_per_row(levels, starts, len(share.charge))), share.unit)
    rest = target_w - np.add.reduceat(watts, starts)
    while rest.any():
        room = (watts + 1) * share.unit <= share.upper
        given = _largest_fractions(share.site_no, fraction // 100, room, starts, rest)
        watts[given] += 1
        fraction[given] = 0
        rest = target_w - np.add.reduceat(watts, starts)
    return watts, levels


def _levels(share: _Share, starts: IntColumn, target: IntColumn) -> IntColumn:
    """Return per group a level at which its energy is at most its target, and short of it by under 1 W.

    False position with a bisection every third step: energy falls with the level along a line with as
    many bends as sites, which false position crosses in a handful of evaluations. Groups that are done
    are left out as soon as they are a third of what is looked at.
    """
    level = np.full(len(starts), _TOP_LEVEL, dtype=np.int64)
    search = _Search(
        group=np.arange(len(starts)),
        target=target,
        above=np.full(len(starts), -1, dtype=np.int64),
        below=level.copy(),
        most=np.add.reduceat(share.upper, starts),
        least=np.add.reduceat(share.lower, starts),
    )
    for step in itertools.count():
        done = (search.target - search.least < share.unit) | (search.below - search.above <= 1)
        level[search.group[done]] = search.below[done]
        if done.all():
            break
        if 3 * int(done.sum()) >= len(done):
            lengths = np.diff(np.append(starts, len(share.charge)))
            share, search = share.rows(np.repeat(~done, lengths)), search.only(~done)
            starts = np.cumsum(lengths[~done]) - lengths[~done]
        middle = search.middle(bisect=step % 3 == 2)
        energy = np.add.reduceat(share.energy(_per_row(middle, starts, len(share.charge))), starts)
        search = search.narrowed(middle, energy)
    return level


@dataclass(frozen=True, slots=True)
class _Search:
    """Brackets around the levels that are still looked for, one row per group.

    ``most`` and ``least`` are the energies at ``above`` and ``below``; the target lies between them.
    """

    group: IntColumn
    target: IntColumn
    above: IntColumn
    below: IntColumn
    most: IntColumn
    least: IntColumn

    def only(self, open_groups: BoolColumn) -> "_Search":
        """Return the search for some of the groups."""
        return _Search(*(getattr(self, name)[open_groups] for name in self.__slots__))

    def middle(self, *, bisect: bool) -> IntColumn:
        """Return the next level to look at: halfway, or where a straight line would meet the target."""
        if bisect:
            return (self.above + self.below) // 2
        share = (self.most - self.target) / np.maximum(self.most - self.least, 1)
        guess = self.above + 1 + (share * (self.below - self.above)).astype(np.int64)
        middle: IntColumn = np.clip(guess, self.above + 1, np.maximum(self.below - 1, self.above + 1))
        return middle

    def narrowed(self, middle: IntColumn, energy: IntColumn) -> "_Search":
        """Return the search after each group's energy at a level was found."""
        enough = energy > self.target
        return replace(
            self,
            above=np.where(enough, middle, self.above),
            most=np.where(enough, energy, self.most),
            below=np.where(enough, self.below, middle),
            least=np.where(enough, self.least, energy),
        )


def _per_row(by_group: IntColumn, starts: IntColumn, rows: int) -> IntColumn | np.int64:
    """Return each row's value of its group; one value where there is one group."""
    if len(starts) == 1:
        only: np.int64 = by_group[0]
        return only
    return np.repeat(by_group, np.diff(np.append(starts, rows)))


def _largest_fractions(
    site_no: IntColumn, fraction: IntColumn, room: BoolColumn, starts: IntColumn, rest: IntColumn
) -> IntColumn:
    """Return the rows that get one watt more: per group the ``rest`` largest fractions that have room."""
    rows = np.flatnonzero(room)
    if len(starts) == 1:
        if len(rows) <= rest[0]:
            return rows
        # Only those around the last winner need a sort: a full one of a million rows costs 0.1 s.
        wanted = int(rest[0])
        edge = -np.partition(-fraction[rows], wanted - 1)[wanted - 1]
        sure = rows[fraction[rows] > edge]
        tied = rows[fraction[rows] == edge]
        return np.append(sure, tied[np.argsort(site_no[tied])[: wanted - len(sure)]])
    group = _group_of(starts, len(fraction))[rows]
    # One integer per row sorts several times faster than three columns.
    order = np.argsort((group << 44) - (fraction[rows] << 24) + site_no[rows])
    rows, group = rows[order], group[order]
    rank = np.arange(len(rows)) - np.searchsorted(group, np.arange(len(starts)))[group]
    return rows[rank < rest[group]]


def _group_of(starts: IntColumn, rows: int) -> IntColumn:
    return np.repeat(np.arange(len(starts)), np.diff(np.append(starts, rows)))


def _within_group_caps(
    seconds: int, offers: Offers, ceiling_w: IntColumn, group_no: IntColumn, caps_w: IntColumn
) -> IntColumn:
    """Return ceilings with which no group can pass its cap: level filling inside each group that would.

    The level at which a group meets its cap becomes a floor for its sites, said as a ceiling on their
    power; filling the fleet once below these ceilings then needs no outer loop.
    """
    if not len(caps_w) or not len(offers):
        return ceiling_w
    limited = np.flatnonzero((group_no >= 0) & (ceiling_w > 0))
    able_w = np.zeros(len(caps_w), dtype=np.int64)
    np.add.at(able_w, group_no[limited], ceiling_w[limited])
    over = able_w > caps_w
    rows = limited[over[group_no[limited]]]
    if not len(rows):
        return ceiling_w
    rows = rows[np.argsort(group_no[rows], kind="stable")]
    groups = group_no[rows]
    starts = np.flatnonzero(np.append(True, groups[1:] != groups[:-1]))
    share = _Share.of(offers, rows, ceiling_w, seconds)
    watts, _ = _solve(share, starts, np.maximum(caps_w[groups[starts]], 0))
    within = ceiling_w.copy()
    within[rows] = watts
    return within

"""Level filling: the level down to which sites give, so that together they give exactly what is asked.

Knows energies and groups of rows; nothing of programs, reasons or commands. All sums are of integers, so
the same sites give the same level in any order and on every processor.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from vpp.domain.quantities import BoolColumn, IntColumn

FULL_PERMILLE = 1000

# Levels are searched in steps of a millionth of a permille: one step moves less than a hundredth of a
# watt of any home, and every product below stays under 2**63 for packs up to MAX_ENERGY_FULL_WH.
_STEP_BITS = 20
_STEP = 1 << _STEP_BITS
_TOP_LEVEL = FULL_PERMILLE * _STEP
MAX_ENERGY_FULL_WH = 20_000_000

_BLOCK_ROWS = 1 << 15
_STEPS_TRUSTED = 12
_SAMPLED_EVERY = 16
_SAMPLE_ROWS = 1 << 10

# Usable energy is 0.95 of the pack (the app scale hides 5 %): one watt-hour of pack and one permille of
# charge are 0.95 * 3600 / 1000 = 342 / 100 watt-seconds.
WS_NUMERATOR = 342


ONE_GROUP: IntColumn = np.zeros(1, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Share:
    """Sites among which amounts are shared: their energy above any level, between two bounds.

    Rows are sorted by group, then by site number, so that of equal rows the first has the lower number.
    Energies are in hundredths of a watt-second: a shift instead of a division for each of a million
    sites, and the sum of them all still stays far below 2**63.
    """

    scale: IntColumn  # energy_full_wh * 342
    charge: IntColumn  # in level steps
    floor: IntColumn
    lower: IntColumn
    upper: IntColumn
    unit: int  # one watt held for the time that is left; time under 2**20 s

    @classmethod
    def of(
        cls,
        energy_full_wh: IntColumn,
        soc_permille: IntColumn,
        floor_permille: IntColumn,
        rows: IntColumn,
        upper_w: IntColumn,
        seconds: int,
    ) -> "Share":
        """Return the share of the sites in these rows, each between nothing and its bound for so long."""
        # In place: fresh memory for a million sites costs more than the arithmetic.
        unit = seconds * 100
        scale, charge, floor = energy_full_wh[rows], soc_permille[rows], floor_permille[rows]
        scale *= WS_NUMERATOR
        charge <<= _STEP_BITS
        floor <<= _STEP_BITS
        nothing = np.zeros(len(rows), dtype=np.int64)
        return cls(scale, charge, floor, lower=nothing, upper=upper_w * unit, unit=unit)

    def up_to(self, upper_w: IntColumn) -> "Share":
        """Return the share of the same sites below other upper bounds."""
        return replace(self, upper=upper_w * self.unit)

    def rows(self, chosen: IntColumn | BoolColumn | slice) -> "Share":
        """Return the share of some of the sites."""
        columns = {
            name: getattr(self, name)[chosen] for name in ("scale", "charge", "floor", "lower", "upper")
        }
        return Share(**columns, unit=self.unit)

    def energy(self, level: IntColumn | np.int64) -> IntColumn:
        """Return each site's energy when everyone is taken down to the level."""
        above = np.maximum(self.floor, level)
        np.subtract(self.charge, above, out=above)
        above *= self.scale
        above >>= _STEP_BITS
        np.maximum(above, self.lower, out=above)
        np.minimum(above, self.upper, out=above)
        return above

    def sums(self, level: IntColumn, starts: IntColumn) -> tuple[IntColumn, IntColumn]:
        """Return each group's energy at its level, and how much it would change with the level.

        The second is the scale of all sites that lie strictly between their bounds: a level one permille
        higher takes that much energy away, as far as no site reaches a bound on the way.
        """
        total, slope = np.zeros_like(level), np.zeros_like(level)
        for rows, groups, firsts in _blocks(starts, len(self.charge)):
            block = self if rows.stop - rows.start == len(self.charge) else self.rows(rows)
            by_row = _per_row(level[groups], firsts, len(block.charge))
            energy = block.energy(by_row)
            moves = energy > block.lower
            moves &= energy < block.upper
            moves &= block.floor <= by_row
            total[groups] += np.add.reduceat(energy, firsts)
            np.multiply(block.scale, moves, out=energy)
            slope[groups] += np.add.reduceat(energy, firsts)
        return total, slope


def _blocks(starts: IntColumn, rows: int) -> Iterator[tuple[slice, slice, IntColumn]]:
    """Yield rows that fit the processor's nearest memory, their groups, and each group's first row in them.

    A million rows walked through column by column cost several times as much as block by block.
    """
    first = 0
    while first < rows:
        last = min(first + _BLOCK_ROWS, rows)
        begins, ends = np.searchsorted(starts, (first, last - 1), side="right")
        groups = slice(int(begins) - 1, int(ends))
        yield slice(first, last), groups, np.maximum(starts[groups] - first, 0)
        first = last


def near_level(share: Share, target_w: int) -> IntColumn:
    """Return about the level, in steps, down to which all sites give a target together: where to look first.

    One step of Newton's method from where a sample of the sites has it.
    """
    target = np.array([target_w], dtype=np.int64)
    search = _Search.between_bounds(
        share, ONE_GROUP, target * share.unit, _first_guess(share, ONE_GROUP, target)
    )
    return search.narrowed(*share.sums(search.next, ONE_GROUP), bisect=False).next


def solve(
    share: Share, starts: IntColumn, target_w: IntColumn, least_w: int, guess: IntColumn | None = None
) -> tuple[IntColumn, IntColumn]:
    """Return watts that sum to each group's target, none under ``least_w``, and the levels in permille.

    Rows are sorted by group and ``starts`` holds each group's first row; no group's target is above
    what its sites can give. Setpoints under the least are dropped from the bottom, then solved again once:
    those that stay are kept at it or more, so a second look is enough. ``guess`` holds the levels, in steps,
    to look at first: only the time it takes depends on them.
    """
    if guess is None:
        guess = _first_guess(share, starts, target_w)
    energy, levels = _fill(share, starts, target_w, guess)
    watts = energy // share.unit
    small = (energy > 0) & (watts < least_w)
    if not small.any():
        return _to_the_watt(share, starts, target_w, energy), -(-levels // _STEP)
    kept = (watts >= least_w) | _kept_of_small(share, starts, target_w, watts, small, least_w)
    bounded = replace(
        share,
        lower=np.where(kept, least_w * share.unit, 0),
        upper=np.where(kept, share.upper, 0),
    )
    energy, levels = _fill(bounded, starts, target_w, levels)
    return _to_the_watt(bounded, starts, target_w, energy), -(-levels // _STEP)


def _kept_of_small(
    share: Share,
    starts: IntColumn,
    target_w: IntColumn,
    watts: IntColumn,
    small: BoolColumn,
    least_w: int,
) -> BoolColumn:
    """Return which of the small setpoints stay: the largest, as many as their watts can pay the least for.

    More stay where those that are left could not carry the target otherwise, as long as the target
    pays the least for everybody who stays.
    """
    large = watts >= least_w
    large_count = np.add.reduceat(large.astype(np.int64), starts)
    upper_w = share.upper // share.unit
    large_upper_w = np.add.reduceat(np.where(large, upper_w, 0), starts)
    paid_for = np.add.reduceat(np.where(small, watts, 0), starts) // least_w
    most = np.maximum(target_w // least_w - large_count, 0)
    rows = np.flatnonzero(small)
    group = _group_of(starts, len(watts))[rows]
    best_first = _stable_order(least_w - watts[rows])
    rows, group = grouped(rows[best_first], group[best_first])
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


def _first_guess(share: Share, starts: IntColumn, target_w: IntColumn) -> IntColumn:
    """Return where to look first: one group's level as every 16th site has it, halfway for many groups.

    Only the number of steps depends on it, never the answer.
    """
    sample = share.rows(np.arange(0, len(share.charge), _SAMPLED_EVERY))
    if len(starts) > 1 or len(sample.charge) < _SAMPLE_ROWS:
        return np.full(len(starts), _TOP_LEVEL // 2)
    sample_w = np.minimum(target_w // _SAMPLED_EVERY, sample.upper.sum() // share.unit)
    guess = _first_guess(sample, starts, sample_w)
    return _levels(sample, starts, sample_w * share.unit, guess)


def _fill(
    share: Share, starts: IntColumn, target_w: IntColumn, guess: IntColumn
) -> tuple[IntColumn, IntColumn]:
    """Return each site's energy at the level that meets its group's target but for 1 W, and the levels."""
    target_w = np.minimum(target_w, np.add.reduceat(share.upper, starts) // share.unit)
    levels = _levels(share, starts, target_w * share.unit, guess)
    return share.energy(_per_row(levels, starts, len(share.charge))), levels


def _to_the_watt(share: Share, starts: IntColumn, target_w: IntColumn, energy: IntColumn) -> IntColumn:
    """Return whole watts that sum to each group's target: the largest fractions get one more."""
    target_w = np.minimum(target_w, np.add.reduceat(share.upper, starts) // share.unit)
    watts = energy // share.unit  # several times as fast as both at once
    fraction = watts * share.unit
    np.subtract(energy, fraction, out=fraction)
    fraction //= 100
    upper_w = share.upper // share.unit
    rest = target_w - np.add.reduceat(watts, starts)
    while rest.any():
        given = _largest_fractions(fraction, watts < upper_w, starts, rest)
        watts[given] += 1
        fraction[given] = 0
        rest = target_w - np.add.reduceat(watts, starts)
    return watts


def _levels(share: Share, starts: IntColumn, target: IntColumn, guess: IntColumn) -> IntColumn:
    """Return per group a level at which its energy is at most its target, and short of it by under 1 W.

    Newton's method between brackets: energy falls with the level along a line with as many bends as
    sites, so that its slope at one level points close to the answer. Should the bends defeat it, halving
    the bracket ends in forty steps more. Groups that are done are left out as soon as they are a third
    of what is looked at.
    """
    level = np.full(len(starts), _TOP_LEVEL, dtype=np.int64)
    search = _Search.between_bounds(share, starts, target, guess)
    for step in itertools.count(1):
        done = (search.target - search.least < share.unit) | (search.below - search.above <= 1)
        level[search.group[done]] = search.below[done]
        if done.all():
            break
        if 3 * int(done.sum()) >= len(done):
            lengths = np.diff(np.append(starts, len(share.charge)))
            share, search = share.rows(np.repeat(~done, lengths)), search.only(~done)
            starts = np.cumsum(lengths[~done]) - lengths[~done]
        search = search.narrowed(*share.sums(search.next, starts), bisect=step > _STEPS_TRUSTED)
    return level


@dataclass(frozen=True, slots=True)
class _Search:
    """Brackets around the levels that are still looked for, one row per group.

    ``least`` is the energy at ``below``; the target lies between it and that at ``above``. ``next`` is the
    level to look at, between the two.
    """

    group: IntColumn
    target: IntColumn
    above: IntColumn
    below: IntColumn
    least: IntColumn
    next: IntColumn

    @classmethod
    def between_bounds(
        cls, share: Share, starts: IntColumn, target: IntColumn, guess: IntColumn
    ) -> "_Search":
        """Return the search before anything was looked at; ``guess`` is where to look first."""
        groups = len(starts)
        return cls(
            group=np.arange(groups),
            target=target,
            above=np.full(groups, -1, dtype=np.int64),
            below=np.full(groups, _TOP_LEVEL, dtype=np.int64),
            least=np.add.reduceat(share.lower, starts),
            next=np.clip(guess, 0, _TOP_LEVEL - 1),
        )

    def only(self, open_groups: BoolColumn) -> "_Search":
        """Return the search for some of the groups."""
        return _Search(*(getattr(self, name)[open_groups] for name in self.__slots__))

    def narrowed(self, energy: IntColumn, scale: IntColumn, *, bisect: bool) -> "_Search":
        """Return the search after each group's energy and slope at its ``next`` level were found."""
        enough = energy > self.target
        above, below = np.where(enough, self.next, self.above), np.where(enough, self.below, self.next)
        halfway = (above + below) // 2
        if bisect:
            following = halfway
        else:
            # Exact integers go into one division: the same float on every processor.
            away = (energy - self.target) / np.maximum(scale, 1) * _STEP
            steps = np.clip(np.ceil(np.abs(away)), 1, _TOP_LEVEL).astype(np.int64)
            following = self.next + np.where(enough, steps, -steps)
            following = np.where((scale > 0) & (above < following) & (following < below), following, halfway)
        return replace(
            self, above=above, below=below, least=np.where(enough, self.least, energy), next=following
        )


def _per_row(by_group: IntColumn, starts: IntColumn, rows: int) -> IntColumn | np.int64:
    """Return each row's value of its group; one value where there is one group."""
    if len(starts) == 1:
        only: np.int64 = by_group[0]
        return only
    return np.repeat(by_group, np.diff(np.append(starts, rows)))


def _largest_fractions(
    fraction: IntColumn, room: BoolColumn, starts: IntColumn, rest: IntColumn
) -> IntColumn:
    """Return the rows that get one watt more: per group the ``rest`` largest fractions that have room."""
    rows = np.flatnonzero(room)
    if len(starts) == 1:
        if len(rows) <= rest[0]:
            return rows
        # Only those around the last winner need a sort: a full one of a million rows costs 0.1 s.
        wanted = int(rest[0])
        fraction = fraction[rows]
        edge = np.partition(fraction, len(rows) - wanted)[len(rows) - wanted]
        sure = rows[fraction > edge]
        tied = rows[fraction == edge]
        return np.append(sure, tied[: wanted - len(sure)])
    group = _group_of(starts, len(fraction))[rows]
    largest_first = _stable_order(int(fraction.max()) - fraction[rows])
    rows, group = grouped(rows[largest_first], group[largest_first])
    rank = np.arange(len(rows)) - np.searchsorted(group, np.arange(len(starts)))[group]
    return rows[rank < rest[group]]


def grouped(rows: IntColumn, group: IntColumn) -> tuple[IntColumn, IntColumn]:
    """Return rows by group, in the order in which they stood."""
    order = _stable_order(group)
    return rows[order], group[order]


def _stable_order(numbers: IntColumn) -> IntColumn:
    """Return the order of numbers from zero up, equal ones as they stood.

    What fits 16 bits is counted rather than compared, which takes a tenth of the time.
    """
    small = not len(numbers) or int(numbers.max()) < 1 << 16
    return np.argsort(numbers.astype(np.uint16) if small else numbers, kind="stable")


def _group_of(starts: IntColumn, rows: int) -> IntColumn:
    return np.repeat(np.arange(len(starts)), np.diff(np.append(starts, rows)))

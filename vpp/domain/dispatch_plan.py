"""Who discharges how much: eligibility, and level filling exact to the watt.

The fullest batteries help first and everyone who helps ends equally full. All arithmetic is on
``int64`` columns; ties go by site number, so two plans from the same inputs are equal whatever the
order of the sites, and a replayed event dispatches the same homes.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

import numpy as np

from vpp.domain.level_filling import ONE_GROUP, WS_NUMERATOR, Share, grouped, near_level, solve
from vpp.domain.quantities import BoolColumn, IntColumn, any_of, rows_of

MIN_COMMAND_W = 500
MIN_REMAINING_S = 600
LONGEST_SHARED_S = 2**20 - 1  # what level filling counts in; a small start of a long event would pass it
LOOKS_AT_CAPS = 3
NEARLY_FULL_PERCENT = 97
PROFILES_KEPT = 256


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

    code: int

    def __init__(self, _word: str) -> None:
        self.code = len(type(self).__members__)


REASONS: tuple[Reason, ...] = tuple(Reason)
"""A reason's number in a column is its position here."""


def reason_code(reason: Reason) -> int:
    """Return the number that stands for a reason in a column."""
    return reason.code


def first_reason(sites: int, tests: tuple[tuple[Reason, BoolColumn], ...]) -> IntColumn:
    """Return one reason code per site: the first test that is true, else ``SELECTED``.

    Args:
        sites: Length of every test column.
        tests: Reasons with the sites they apply to, in any order; ``Reason``'s own order decides.
    """
    codes = np.full(sites, reason_code(Reason.SELECTED), dtype=np.int64)
    for reason, applies in sorted(tests, key=lambda test: test[0].code, reverse=True):
        codes[applies] = reason.code
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
    would have to be held to give the same energy, ``present_s`` that for which it is asked as it is (None:
    all of it). ``now_w`` None asks for all that can be sustained.
    """

    now_w: int | None
    peak_w: int | None
    seconds: int
    present_s: int | None = None

    @property
    def rises(self) -> bool:
        """Return whether more is asked later than now."""
        return bool(self.now_w) and self.peak_w is not None and (self.now_w or 0) < self.peak_w

    @property
    def at_peak_s(self) -> int:
        """Return the time for which the peak would have to be held to give the energy that is owed."""
        if not self.rises:
            return self.seconds
        return max(MIN_REMAINING_S, -(-self.seconds * (self.now_w or 0) // (self.peak_w or 1)))


@lru_cache(maxsize=PROFILES_KEPT)  # asked for every event several times a tick
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
    return Profile(now_w, max(powers), max(MIN_REMAINING_S, seconds), stretches[0][1])


def plan_dispatch(
    profile: Profile,
    offers: Offers,
    *,
    feeder_caps_w: IntColumn,
    zone_caps_w: IntColumn,
    least_w: int = MIN_COMMAND_W,
) -> Allocation:
    """Share the power asked now over the sites, the fullest first, so that all who help end level.

    Args:
        profile: What the event asks now and until its end.
        offers: Eligible sites. The order does not matter.
        feeder_caps_w: Most power each feeder may carry, indexed by ``feeder_no``.
        zone_caps_w: The same for zones.
        least_w: What is worth asking of a site; less only of sites that discharge already.

    Returns:
        Setpoints whose sum with the shortfall is the request, exact to the watt; no site above its
        limit, under its floor at the event's end, or asked for less than ``least_w``.
    """
    if len(offers) and any_of(offers.site_no[1:] < offers.site_no[:-1]):
        return _in_order_of_sites(profile, offers, feeder_caps_w, zone_caps_w, least_w)
    sustainable = sustainable_w(offers, profile.at_peak_s)
    rows = rows_of(sustainable >= least_w)
    alone_w = sustainable[rows]
    share = _share_of(offers, rows, alone_w, profile.at_peak_s)
    network = _Network.of(
        share,
        alone_w,
        least_w,
        ((offers.feeder_no[rows], feeder_caps_w), (offers.zone_no[rows], zone_caps_w)),
    )
    if profile.rises:
        ceiling_w = network.within(alone_w, network.could_be_full)
        watts, level = _before_peak(profile, offers, rows, ceiling_w, least_w)
    else:
        ceiling_w, watts, level = _within_caps(profile, share, alone_w, network)
    setpoint_w, capped = np.zeros(len(offers), dtype=np.int64), np.zeros(len(offers), dtype=np.bool_)
    setpoint_w[rows], capped[rows] = watts, ceiling_w < alone_w
    setpoint_w.flags.writeable = False
    requested_w = int(ceiling_w.sum()) if profile.now_w is None else profile.now_w
    shortfall_w = requested_w - int(watts.sum())
    return Allocation(setpoint_w, requested_w, shortfall_w, level, capped)


def _before_peak(
    profile: Profile, offers: Offers, rows: IntColumn, peak_w: IntColumn, least_w: int
) -> tuple[IntColumn, int]:
    """Return setpoints for less than will be asked later, of sites that can give so much at the peak.

    A site bound by its limit at the peak gives less energy than the others: its part of every smaller
    stretch shrinks alike, so that the shortfall is spread flat over the window. A part too small for a
    command is served by fewer sites: each may take that of others, as far as it can hold it for the present
    stretch, and they give more of the rest. Under twice the least serves any sum to the watt.
    """
    now_w = profile.now_w or 0
    scaled_w = peak_w * now_w // (profile.peak_w or 1)
    able_w = held_w(offers.energy_full_wh, offers.soc_permille - offers.floor_permille, profile.seconds)
    part_w = np.minimum(scaled_w, able_w[rows])
    alone_w = np.minimum(peak_w, sustainable_w(offers, profile.present_s or profile.seconds)[rows])
    ceiling_w = np.where(part_w < least_w, np.minimum(alone_w, 2 * least_w - 1), part_w)
    ceiling_w = np.where(ceiling_w < least_w, 0, ceiling_w)
    given_w = min(now_w, int(part_w.sum()))
    if given_w >= int(ceiling_w.sum()):
        return ceiling_w, 0
    share = _share_of(offers, rows, ceiling_w, min(profile.seconds, LONGEST_SHARED_S))
    watts, levels = solve(share, ONE_GROUP, np.array([given_w], dtype=np.int64), least_w)
    return watts, int(levels[0])


def _within_caps(
    profile: Profile, share: Share, alone_w: IntColumn, network: "_Network"
) -> tuple[IntColumn, IntColumn, int]:
    """Return ceilings of sites within the network's caps, setpoints below them, and the level they end at."""
    least_w = network.least_w
    full, guess = _full_groups(profile, share, alone_w, network)
    for _ in range(LOOKS_AT_CAPS):
        ceiling_w = network.within(alone_w, full)
        watts, level = _watts(profile, share.up_to(ceiling_w), ceiling_w, least_w, guess)
        if not _any(network.passed(watts)):
            return ceiling_w, watts, level
        full = network.fuller(full, watts)
    ceiling_w = network.within(alone_w, network.could_be_full)
    return ceiling_w, *_watts(profile, share.up_to(ceiling_w), ceiling_w, least_w, guess)


def _watts(
    profile: Profile, share: Share, ceiling_w: IntColumn, least_w: int, guess: IntColumn | None
) -> tuple[IntColumn, int]:
    """Return setpoints below the ceilings that give what is asked, and the level at which sites end."""
    if profile.now_w is None or profile.now_w >= int(ceiling_w.sum()) or not len(ceiling_w):
        return ceiling_w, 0
    watts, levels = solve(share, ONE_GROUP, np.array([profile.now_w], dtype=np.int64), least_w, guess)
    return watts, int(levels[0])


Marks = tuple[BoolColumn, ...]
"""Which feeders are meant, and which zones; one column for each family of groups."""


def _any(marks: Marks) -> bool:
    return any(any_of(marked) for marked in marks)


@dataclass(frozen=True, slots=True)
class _Network:
    """Feeders and zones with the most each may carry; columns of watts have a row for each site of ``share``.

    ``families`` holds for feeders, and for zones, each site's group plus one (zero: in none), and the caps.
    ``could_be_full`` marks the groups whose sites could pass the cap together.
    """

    share: Share
    least_w: int
    families: tuple[tuple[IntColumn, IntColumn], ...]
    could_be_full: Marks

    @classmethod
    def of(
        cls, share: Share, alone_w: IntColumn, least_w: int, families: tuple[tuple[IntColumn, IntColumn], ...]
    ) -> "_Network":
        """Return the network of the caps there are; ``families`` are each site's group, and the caps."""
        capped = tuple((group_no + 1, caps_w) for group_no, caps_w in families if len(caps_w))
        network = cls(share, least_w, capped, ())
        return replace(network, could_be_full=network.passed(alone_w))

    def passed(self, watts: IntColumn, *, percent: int = 100) -> Marks:
        """Return the groups whose sites would carry more than their cap together, or than a part of it."""
        return tuple(
            _sums(watts, place, len(caps_w)) * 100 > caps_w * percent for place, caps_w in self.families
        )

    def fuller(self, full: Marks, watts: IntColumn) -> Marks:
        """Return which groups to hold to their cap: the full ones, and those that these watts nearly fill.

        What they cannot carry is asked of the others, and fills more of them. Where much of the network is
        full, every group that could be counts as such: looking again and again would take longer.
        """
        nearly = self.passed(watts, percent=NEARLY_FULL_PERCENT)
        found = tuple(
            known | (marked & able)
            for known, marked, able in zip(full, nearly, self.could_be_full, strict=True)
        )
        crowded = any(
            3 * int(marked.sum()) > int(able.sum())
            for marked, able in zip(found, self.could_be_full, strict=True)
        )
        return self.could_be_full if crowded else found

    def within(self, ceiling_w: IntColumn, full: Marks) -> IntColumn:
        """Return ceilings with which no full group can pass its cap: level filling inside each that would.

        The level at which a group meets its cap becomes a floor for its sites, said as a ceiling on their
        power; filling the fleet once below these ceilings then needs no outer loop.
        """
        for (place, caps_w), marked in zip(self.families, full, strict=True):
            if not any_of(marked):
                continue
            over = marked & (_sums(ceiling_w, place, len(caps_w)) > caps_w)
            rows = rows_of(np.append(False, over)[place] & (ceiling_w > 0))
            if len(rows):
                rows, groups = grouped(rows, place[rows] - 1)
                starts = rows_of(np.append(True, groups[1:] != groups[:-1]))
                limited = self.share.rows(rows).up_to(ceiling_w[rows])
                ceiling_w = ceiling_w.copy()
                caps_now_w = np.maximum(caps_w[groups[starts]], 0)
                ceiling_w[rows] = solve(limited, starts, caps_now_w, self.least_w)[0]
        return ceiling_w


def _sums(watts: IntColumn, place: IntColumn, groups: int) -> IntColumn:
    """Return what the sites of each group give together."""
    sums = np.zeros(groups + 1, dtype=np.int64)
    np.add.at(sums, place, watts)
    return sums[1:]


def _full_groups(
    profile: Profile, share: Share, alone_w: IntColumn, network: _Network
) -> tuple[Marks, IntColumn | None]:
    """Return the groups that look full at the level at which all give what is asked, and that level.

    Most caps bind only when nearly everything is asked, and filling every group to its cap takes longer than
    the fleet itself.
    """
    nobody: Marks = tuple(np.zeros_like(marked) for marked in network.could_be_full)
    if not _any(network.could_be_full):
        return nobody, None
    if profile.now_w is None or profile.now_w >= int(alone_w.sum()):
        return network.could_be_full, None
    level = near_level(share, profile.now_w)
    return network.fuller(nobody, share.energy(level[0]) // share.unit), level


def _in_order_of_sites(
    profile: Profile, offers: Offers, feeder_caps_w: IntColumn, zone_caps_w: IntColumn, least_w: int
) -> Allocation:
    """Share among sites in any order: everything below takes the row for the site number where it ties."""
    order = np.argsort(offers.site_no)
    sorted_offers = Offers(*(getattr(offers, name)[order] for name in Offers.__slots__))
    found = plan_dispatch(
        profile, sorted_offers, feeder_caps_w=feeder_caps_w, zone_caps_w=zone_caps_w, least_w=least_w
    )
    back = np.argsort(order)
    return replace(found, setpoint_w=found.setpoint_w[back], capped=found.capped[back])


def sustainable_w(offers: Offers, seconds: int) -> IntColumn:
    """Return the watts each site can hold for that long without passing its limit or its floor."""
    able_w = held_w(offers.energy_full_wh, offers.soc_permille - offers.floor_permille, seconds)
    sustained_w: IntColumn = np.minimum(offers.limit_w, able_w)
    return sustained_w


def held_w(energy_full_wh: IntColumn, above_permille: IntColumn, seconds: int) -> IntColumn:
    """Return the watts that energy above a floor holds for that long, whatever a site's limit is."""
    held: IntColumn = np.maximum(above_permille, 0)
    held *= energy_full_wh
    held *= WS_NUMERATOR
    held //= max(MIN_REMAINING_S, seconds) * 100
    return held


def holding_s(energy_full_wh: IntColumn, above_permille: IntColumn, power_w: IntColumn) -> IntColumn:
    """Return for how many seconds energy above a floor holds a power above zero."""
    held: IntColumn = np.maximum(above_permille, 0)
    held *= energy_full_wh
    held *= WS_NUMERATOR
    held //= power_w * 100
    return held


def _share_of(offers: Offers, rows: IntColumn, upper_w: IntColumn, seconds: int) -> Share:
    """Return the share of the sites in these rows."""
    return Share.of(offers.energy_full_wh, offers.soc_permille, offers.floor_permille, rows, upper_w, seconds)

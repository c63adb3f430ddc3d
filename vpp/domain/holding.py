"""Which event held a home at each instant, where several asked the same fleet at once.

A home serves one event at each instant, and each event settles the instants in which it held the home.
What was told decides, not how important the events were: the newest command that had begun is the one
that the home obeyed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

import numpy as np

from vpp.domain.command import Action, DispatchTick, Order
from vpp.domain.interval import Interval, from_epoch, to_epoch, union
from vpp.domain.quantities import IntColumn

_NOBODY = -1
_NEVER = 1 << 62

Turn = tuple[int, int]  # when a home was to begin, in seconds since 1970, and the place of the event


@dataclass(frozen=True, slots=True)
class Course:
    """What one event asked and told.

    ``on`` are the stretches in which it asked for something, in order and apart. ``opted_out_s`` is
    indexed by ``site_no``: when the owner's no was committed, in seconds since 1970, beyond all times for
    one who stayed in. ``ticks`` hold the event's orders only, in order.
    """

    on: tuple[Interval, ...]
    ticks: Sequence[DispatchTick]
    opted_out_s: IntColumn


def held_elsewhere(mine: Course, others: Sequence[Course]) -> dict[int, tuple[Interval, ...]]:
    """Return, by ``site_no``, when another event held a site that this one would settle otherwise.

    An event has a claim to each site that it told to discharge at least once, while it asks for something
    and until the owner's no to it. Where one event has a claim, nothing is taken from it. Where several
    have, the one whose discharge was told last, of those that had begun, held the site; before any had,
    the one that was to begin first. So the claims of all events together are settled exactly once.

    Interpretation: a release, or a lease that ran out, gives a site to nobody else. As in an event alone,
    the time until somebody's next discharge belongs to the event that held the site last.
    """
    courses = (mine, *others)
    on_s = [[(to_epoch(each.starts_at), to_epoch(each.ends_at)) for each in course.on] for course in courses]
    found: dict[int, tuple[Interval, ...]] = {}
    alike: dict[tuple[tuple[Turn, ...], tuple[int, ...]], tuple[Interval, ...]] = {}
    for site_no, turns in _turns(courses):
        outs_s = tuple(int(course.opted_out_s[site_no]) for course in courses)
        key = tuple(turns), outs_s  # most sites of an event are told the same things at the same times
        if key not in alike:
            alike[key] = _elsewhere(turns, outs_s, on_s)
        if alike[key]:
            found[site_no] = alike[key]
    return found


def _turns(courses: Sequence[Course]) -> Iterator[tuple[int, list[Turn]]]:
    """Yield the sites that the first event and another one told to discharge, each with its turns.

    In the order in which they were told. A renewal is no turn; one that begins earlier is.
    """
    told = sorted(_told(courses), key=itemgetter(0))
    sites = max((int(order.site_no.max()) + 1 for _, _, order in told if len(order.site_no)), default=0)
    told_by = np.zeros((len(courses), sites), dtype=np.bool_)
    for _, place, order in told:
        told_by[place, order.site_no] = True
    contested = told_by[0] & (told_by.sum(axis=0) > 1)
    place_of = np.full(sites, _NOBODY, dtype=np.int64)
    begins_s = np.full(sites, _NEVER, dtype=np.int64)
    turns: dict[int, list[Turn]] = {site_no: [] for site_no in np.flatnonzero(contested).tolist()}
    for _, place, order in told:
        starts_s, rows = to_epoch(order.starts_at), order.site_no[contested[order.site_no]]
        new = rows[(place_of[rows] != place) | (begins_s[rows] > starts_s)]
        place_of[new], begins_s[new] = place, starts_s
        for site_no in new.tolist():
            turns[site_no].append((starts_s, place))
    yield from turns.items()


def _told(courses: Sequence[Course]) -> Iterator[tuple[int, int, Order]]:
    for place, course in enumerate(courses):
        for tick in course.ticks:
            for order in tick.orders:
                if order.action is Action.DISCHARGE:
                    yield tick.number, place, order


def _elsewhere(
    turns: Sequence[Turn], outs_s: Sequence[int], on_s: Sequence[Sequence[tuple[int, int]]]
) -> tuple[Interval, ...]:
    """Return when another event than the first held a site to which the first had a claim."""
    edges = {edge for stretches in on_s for stretch in stretches for edge in stretch}
    edges.update(outs_s, (starts_s for starts_s, _ in turns))
    taken = []
    for from_s, until_s in pairwise(sorted(edges)):
        claims = {
            place
            for _, place in turns
            if from_s < outs_s[place] and any(starts_s <= from_s < ends_s for starts_s, ends_s in on_s[place])
        }
        if len(claims) > 1 and 0 in claims and _holder(turns, claims, from_s) != 0:
            taken.append(Interval(from_epoch(from_s), from_epoch(until_s)))
    return union(taken)


def _holder(turns: Sequence[Turn], claims: set[int], at_s: int) -> int:
    """Return the event that held a site at an instant, of those with a claim to it."""
    claimed = [turn for turn in reversed(turns) if turn[1] in claims]
    begun = (place for starts_s, place in claimed if starts_s <= at_s)
    # Of two that were to begin at the same second the newer command counts: it stands first here.
    return next(begun, min(claimed, key=itemgetter(0))[1])

"""Which homes an event leaves to the events after it, where several ask the same fleet at once.

A home serves one event at each instant, and the more important event has the first word. But it has it
over as much as it asks, not over every home: level filling alone would spread a small event thinly over
the whole fleet, and leave nobody for the next.

Interpretation: the firm power of the homes that several events could use is shared in proportion to what
each still asks of them, so that every event has the same headroom for homes that fail; where it does not
reach for all, the more important event gets all it asks and the others what is left. An event that asks
for all that can be sustained leaves nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vpp.domain.brake import Numbers, first_come
from vpp.domain.quantities import BoolColumn, IntColumn, any_of, rows_of

ENOUGH_PERCENT = 125

Caps = Sequence[tuple[Numbers, IntColumn]]
"""Each site's group, and the most watts each group may carry, for one family of groups after another."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one event could use now. ``asked_w`` None asks for all that can be sustained.

    ``eligible`` is indexed by ``site_no``.
    """

    event_no: int
    eligible: BoolColumn
    asked_w: int | None


def left_to_others(
    mine: Claim,
    later: Sequence[Claim],
    *,
    firm_w: IntColumn,
    serving_no: IntColumn,
    network: Caps = (),
    ceilings: Caps = (),
) -> BoolColumn:
    """Return the sites that an event leaves to less important ones.

    Args:
        mine: The event whose turn it is.
        later: The less important events.
        firm_w: What each site can hold to the last end of these events.
        serving_no: The event that each site serves now; whoever serves an event goes on with it as long
            as the others can have what they ask, and a quarter for homes that fail, without it.
        network: What feeders, and zones, may carry of all these events.
        ceilings: What zones may carry of the event whose turn it is: what it may not use there it has to
            find elsewhere, and leaves.
    """
    wanted = np.zeros(len(firm_w), dtype=np.bool_)
    for claim in later:
        wanted |= claim.eligible
    contested = mine.eligible & wanted
    nobody = np.zeros(len(firm_w), dtype=np.bool_)
    if mine.asked_w is None or not any_of(contested):
        return nobody
    rows = _in_turn(rows_of(contested), mine, later, serving_no)
    in_turn = np.append(rows_of(mine.eligible & ~wanted), rows)
    firm_w = _within(network, firm_w, in_turn)
    usable_w = _within(ceilings, firm_w, in_turn)
    needs_w = max(0, mine.asked_w - int(usable_w[mine.eligible & ~wanted].sum()))
    others_w = sum(_needed_of(contested, claim, mine, firm_w) for claim in later)
    if others_w == 0:
        return nobody
    all_w = int(firm_w[contested].sum())
    fair_w = all_w * needs_w // (needs_w + others_w)
    serving = contested & (serving_no == mine.event_no)
    takes_w = max(needs_w, fair_w)
    if 100 * (all_w - int(firm_w[serving].sum())) >= ENOUGH_PERCENT * others_w:
        takes_w = max(takes_w, int(usable_w[serving].sum()))
    before_w = np.cumsum(usable_w[rows]) - usable_w[rows]
    left = nobody
    left[rows[(before_w >= takes_w) | (usable_w[rows] == 0)]] = True
    return left


def _within(caps: Caps, firm_w: IntColumn, rows: IntColumn) -> IntColumn:
    """Return what sites can hold within caps; who stands first in these rows gets all of it."""
    capped = [(group_no, caps_w) for group_no, caps_w in caps if len(caps_w)]
    if not capped:
        return firm_w
    turn = np.full(len(firm_w), len(rows))
    turn[rows] = np.arange(len(rows))
    usable_w, order = firm_w, np.argsort(turn, kind="stable")
    for group_no, caps_w in capped:
        usable_w = first_come(usable_w, order, group_no, caps_w)
    return usable_w


def _needed_of(contested: BoolColumn, claim: Claim, mine: Claim, firm_w: IntColumn) -> int:
    """Return what a later event asks of the contested sites, beyond what its own can give."""
    if claim.asked_w is None:
        return int(firm_w[contested & claim.eligible].sum())
    return max(0, claim.asked_w - int(firm_w[claim.eligible & ~mine.eligible].sum()))


def _in_turn(rows: IntColumn, mine: Claim, later: Sequence[Claim], serving_no: IntColumn) -> IntColumn:
    """Return sites in the order in which an event takes them: its own, free ones, those of the others.

    Of these first the sites that few others may use: an event that names one feeder has no choice. Among
    equals the number is scattered, so that each event gets full and empty homes, near and far.
    """
    serving = serving_no[rows]
    turn, wanted = np.ones(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.int64)
    for claim in later:
        turn[serving == claim.event_no] = 2
        wanted += claim.eligible[rows]
    turn[serving == mine.event_no] = 0
    scattered = rows * 2_654_435_761 % 2**32
    return rows[np.lexsort((rows, scattered, wanted, turn))]

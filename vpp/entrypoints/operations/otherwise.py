"""A past event under another rule: what the fleet would have been asked with a higher reserve floor."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from vpp.domain.event_end import ended_at
from vpp.domain.event_plan import EventPlan
from vpp.domain.interval import to_epoch
from vpp.domain.replay_otherwise import PlanPair, PlansOtherwise
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant, percent
from vpp.wire.enrollment_file import read_percent


async def replay_otherwise(desk: Desk, *, event_id: str, floor: str) -> Json:
    """Plan a past event again from what was known at each of its ticks, with another reserve floor.

    Args:
        event_id: The event.
        floor: Percent of the app scale. No home is taken below it, nor below its own reserve.

    Returns:
        ``event_id, floor_pct``; ``plans`` in order: ``at, asked_w``, and for the plan as it was and the
        other ``planned_w, other_planned_w, shortfall_w, other_shortfall_w, sites, other_sites,
        level_pct, other_level_pct`` (nobody was taken below; zero: down to the own reserve); ``planned_wh,
        other_planned_wh`` (Wh until the event's end, or now); ``note``, what this leaves out.

    Raises:
        OperationRefused: The floor is no percentage, or the event was never planned.
    """
    try:
        floor_permille = read_percent(floor)
    except ValueError as failure:
        raise OperationRefused(f"floor {failure}", field="floor") from failure
    history = await desk.history(event_id)
    revisions = await desk.store.revisions(event_id)
    pairs: list[PlanPair] = []
    if revisions:
        otherwise = PlansOtherwise(await desk.store.enrollments(), revisions, floor_permille)
        # One tick at a time: what was known of a large fleet all evening does not fit into memory.
        for tick in await desk.store.ticks(since=revisions[0].at):
            if tick.at > revisions[-1].at:
                break
            for basis in await desk.store.bases(since=tick.at, until=tick.at):
                pair = otherwise.at(basis, event_id) if basis.number == tick.number else None
                if pair is not None:
                    pairs.append(pair)
    ends_at = min(desk.clock.now(), ended_at(history))
    return {
        "event_id": event_id,
        "time_zone": desk.time_zone(history.latest.program_id),
        "floor_pct": percent(floor_permille),
        "plans": [_pair_facts(pair) for pair in pairs],
        "planned_wh": _energy_wh([(each.at, each.was) for each in pairs], ends_at),
        "other_planned_wh": _energy_wh([(each.at, each.other) for each in pairs], ends_at),
        "note": "made from the charge of the evening as it went; homes are taken to give what they are asked",
    }


def _pair_facts(pair: PlanPair) -> Json:
    facts: Json = {"at": instant(pair.at), "asked_w": pair.was.requested_w}
    for prefix, plan in (("", pair.was), ("other_", pair.other)):
        facts |= {
            f"{prefix}planned_w": int(plan.setpoint_w.sum()),
            f"{prefix}shortfall_w": plan.shortfall_w,
            f"{prefix}sites": int((plan.setpoint_w > 0).sum()),
            f"{prefix}level_pct": percent(plan.level_permille),
        }
    return facts


def _energy_wh(plans: Sequence[tuple[datetime, EventPlan]], ends_at: datetime) -> int:
    """Return the energy of plans each of which holds until the next one, the last until the end."""
    times_s = [*(to_epoch(at) for at, _ in plans), to_epoch(ends_at)]
    held_s = (max(0, until - since) for since, until in pairwise(times_s))
    return sum(int(plan.setpoint_w.sum()) * s for (_, plan), s in zip(plans, held_s, strict=True)) // 3600

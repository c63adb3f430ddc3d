"""Every plan, tick and command of a history made again from what is stored, as ``vpp replay`` does it."""

from collections.abc import Sequence
from datetime import datetime

from vpp.domain.command import DispatchTick
from vpp.domain.orders import UNKNOWN_EVENT
from vpp.domain.replay import PlansAgain, StoredDispatch, replayed
from vpp.domain.ticks_again import TicksAgain
from vpp.ports import Store


async def differences(store: Store, since: datetime) -> list[str]:
    """Return what does not follow from what is stored: the first of each event, and the first of all ticks.

    A controller may go on meanwhile: what ticks follow from is read after them, and may hold more.
    """
    ticks = await store.ticks(since=since)
    event_ids = sorted({order.event_id for tick in ticks for order in tick.orders} - {UNKNOWN_EVENT})
    found = [await _commands(store, event_id) for event_id in event_ids]
    return [
        fault for fault in [*found, *await _plans_and_ticks(store, ticks, event_ids)] if fault is not None
    ]


async def _commands(store: Store, event_id: str) -> str | None:
    ticks, revisions = await store.event_ticks(event_id), await store.revisions(event_id)
    opt_outs, history = await store.opt_outs([event_id]), await store.history(event_id)
    assert history is not None, "homes were told something for it"
    site_no_of = {each.site_id: each.site_no for each in await store.enrollments()}
    stored = StoredDispatch(history, ticks, revisions, opt_outs, site_no_of)
    return next((fault for _, fault in replayed(stored) if fault is not None), None)


async def _plans_and_ticks(
    store: Store, ticks: Sequence[DispatchTick], event_ids: Sequence[str]
) -> list[str | None]:
    if not ticks:
        return []
    roster = await store.enrollments()
    plans = {each: PlansAgain(roster, await store.revisions(each)) for each in event_ids}
    ticks_again = TicksAgain(roster, event_ids, await store.acks(since=min(tick.at for tick in ticks)))
    first: dict[str, str | None] = dict.fromkeys(("", *event_ids))
    for tick in ticks:
        bases = await store.bases(since=tick.at, until=tick.at)
        basis = next((each for each in bases if each.number == tick.number), None)
        for unread in ticks_again.unread(tick, basis):
            ticks_again.learn(unread, await store.revisions(unread))
        first[""] = first[""] or ticks_again.fault_at(tick, basis)
        for event_id, again in plans.items():
            fault = None if basis is None else again.fault_at(basis, event_id)
            first[event_id] = first[event_id] or (None if fault is None else f"tick {tick.number}: {fault}")
    return list(first.values())

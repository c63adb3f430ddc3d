"""Every plan, tick and command of a history made again from what is stored, as ``vpp replay`` does it."""

from collections.abc import Iterator
from datetime import datetime

from simulators.kernel import drive
from vpp.adapters.memory.store import MemoryStore
from vpp.domain.replay import PlansAgain, StoredDispatch, replayed
from vpp.domain.ticks_again import TicksAgain


def differences(store: MemoryStore, since: datetime) -> Iterator[str]:
    """Yield what does not follow from what is stored: the first of each event, and the first of all ticks."""
    roster, ticks = drive(store.enrollments()), drive(store.ticks(since=since))
    bases = {basis.number: basis for basis in drive(store.bases(since=since))}
    site_no_of = {each.site_id: each.site_no for each in roster}
    event_ids = sorted({order.event_id for tick in ticks for order in tick.orders})
    ticks_again = TicksAgain(roster, event_ids, drive(store.acks(since=since)))
    plans_again = {}
    for event_id in event_ids:
        history, revisions = drive(store.history(event_id)), drive(store.revisions(event_id))
        assert history is not None, "it was signalled"
        plans_again[event_id] = PlansAgain(roster, revisions)
        opt_outs, told = drive(store.opt_outs([event_id])), drive(store.event_ticks(event_id))
        stored = StoredDispatch(history, told, revisions, opt_outs, site_no_of)
        yield from [fault for _, fault in replayed(stored) if fault is not None][:1]
    found: dict[str, str] = {}
    for tick in ticks:
        basis = bases.get(tick.number)
        for unread in ticks_again.unread(tick, basis):
            ticks_again.learn(unread, drive(store.revisions(unread)))
        fault = ticks_again.fault_at(tick, basis)
        if fault is not None:
            found.setdefault("ticks", fault)
        for event_id, again in plans_again.items():
            fault = None if basis is None else again.fault_at(basis, event_id)
            if fault is not None:
                found.setdefault(event_id, f"tick {tick.number}: {fault}")
    yield from found.values()

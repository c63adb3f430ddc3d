"""What every store promises about the leader's epoch, plans, ticks and acknowledgements."""

import pytest

from tests.adapters.store_world import EVENT, NOON, a_basis, a_revision, a_tick, acks, after, an_order
from vpp.domain.command import Refusal
from vpp.ports import ConflictingFact, Store, StoreUnavailable
from vpp.ports import StaleEpoch as Stale
from vpp.wire import facts

NOON_S = int(NOON.timestamp())


async def test_epoch_is_the_time_of_the_takeover(store: Store) -> None:
    assert await store.take_epoch(at=NOON) == NOON_S
    assert await store.take_epoch(at=after(1)) == NOON_S + 60


async def test_epoch_rises_even_when_the_clock_went_back(store: Store) -> None:
    await store.take_epoch(at=NOON)

    assert await store.take_epoch(at=after(-60)) == NOON_S + 1


async def test_tick_and_its_revisions_come_back_as_they_were(store: Store) -> None:
    epoch = await store.take_epoch(at=NOON)
    tick = a_tick(1, epoch, an_order(range(0, 9_000, 3)), an_order([1, 7], event_id="ev-2"))

    await store.commit(tick, [a_revision(1), a_revision(2, setpoints=(500, 90_000, 0))])

    assert facts.same(await store.ticks(since=NOON), [tick])
    assert facts.same(
        await store.revisions(EVENT), [a_revision(1), a_revision(2, setpoints=(500, 90_000, 0))]
    )
    assert (await store.last_tick()).sequence == 1


async def test_before_any_tick_the_last_number_is_zero(store: Store) -> None:
    assert (await store.last_tick()).sequence == 0
    assert await store.revisions(EVENT) == []


async def test_replaced_leader_commits_nothing_more(store: Store) -> None:
    replaced = await store.take_epoch(at=NOON)
    await store.take_epoch(at=after(1))

    with pytest.raises(Stale, match=str(replaced)):
        await store.commit(a_tick(1, replaced), [a_revision()])

    assert (await store.last_tick()).sequence == 0
    assert await store.revisions(EVENT) == []


async def test_tick_committed_again_is_one_tick(store: Store) -> None:
    epoch = await store.take_epoch(at=NOON)
    await store.commit(a_tick(1, epoch), [a_revision()])
    head = await store.chain_head()

    await store.commit(a_tick(1, epoch), [a_revision()])

    assert len(await store.ticks(since=NOON)) == len(await store.revisions(EVENT)) == 1
    assert await store.chain_head() == head


async def test_other_orders_under_a_tick_number_commit_nothing(store: Store) -> None:
    epoch = await store.take_epoch(at=NOON)
    await store.commit(a_tick(1, epoch), [])

    with pytest.raises(ConflictingFact, match="tick 1"):
        await store.commit(a_tick(1, epoch, an_order([2])), [a_revision()])
    assert await store.revisions(EVENT) == []


async def test_other_setpoints_under_a_revision_number_commit_nothing(store: Store) -> None:
    epoch = await store.take_epoch(at=NOON)
    await store.commit(a_tick(1, epoch), [a_revision(1)])

    with pytest.raises(ConflictingFact, match="plan revision 1"):
        await store.commit(a_tick(2, epoch), [a_revision(2), a_revision(1, setpoints=(900,))])

    assert (await store.last_tick()).sequence == 1
    assert len(await store.revisions(EVENT)) == 1


async def test_ticks_since_a_time_are_those_at_it_and_later(store: Store) -> None:
    epoch = await store.take_epoch(at=NOON)
    for number in (1, 2, 3):
        await store.commit(a_tick(number, epoch, at=after(number)), [])

    assert [tick.number for tick in await store.ticks(since=after(2))] == [2, 3]


async def test_ticks_of_an_event_hold_only_its_orders(store: Store) -> None:
    epoch = await store.take_epoch(at=NOON)
    ours, other = an_order([1, 2]), an_order([3], event_id="ev-2")
    for number, orders in ((1, (ours, other)), (2, (other,)), (3, (ours,))):
        await store.commit(a_tick(number, epoch, *orders), [])

    found = await store.event_ticks(EVENT)

    assert facts.same(found, [a_tick(1, epoch, ours), a_tick(3, epoch, ours)])
    assert facts.same(await store.event_ticks(EVENT, after=1), [a_tick(3, epoch, ours)])
    assert await store.event_ticks(EVENT, after=3) == []


async def test_plans_after_one_are_those_with_a_higher_number(store: Store) -> None:
    epoch = await store.take_epoch(at=NOON)
    await store.commit(a_tick(1, epoch), [a_revision(1), a_revision(2)])

    assert [each.revision for each in await store.revisions(EVENT, after=1)] == [2]
    assert await store.revisions(EVENT, after=2) == []


async def test_what_was_known_at_a_tick_comes_back_as_it_was(store: Store) -> None:
    epoch = await store.take_epoch(at=NOON)
    known = [a_basis(1, sites=range(3_000)), a_basis(2, sites=[7]), a_basis(3, sites=[])]
    for basis in known:
        await store.commit(a_tick(basis.number, epoch, at=after(basis.number)), [], basis=basis)

    assert facts.same(await store.bases(since=NOON), known)
    assert facts.same(await store.bases(since=after(2)), known[1:])
    assert facts.same(await store.bases(since=after(1), until=after(2)), known[:2])


async def test_what_a_refused_tick_knew_is_not_kept(store: Store) -> None:
    replaced = await store.take_epoch(at=NOON)
    await store.take_epoch(at=after(1))

    with pytest.raises(Stale):
        await store.commit(a_tick(1, replaced), [], basis=a_basis(1))

    assert await store.bases(since=NOON) == []


async def test_tick_committed_again_keeps_what_was_known_the_first_time(store: Store) -> None:
    epoch = await store.take_epoch(at=NOON)
    await store.commit(a_tick(1, epoch), [], basis=a_basis(1, sites=[1]))

    await store.commit(a_tick(1, epoch), [], basis=a_basis(1, sites=[2]))

    assert facts.same(await store.bases(since=NOON), [a_basis(1, sites=[1])])


async def test_first_word_of_a_gateway_stays(store: Store) -> None:
    epoch = await store.take_epoch(at=NOON)
    await store.commit(a_tick(1, epoch), [])

    await store.record_acks(acks((0, epoch, 1, None), (5, epoch, 1, Refusal.ISLANDED), at=after(1)))
    await store.record_acks(acks((5, epoch, 1, None), (1, epoch, 1, None), (1, epoch, 1, Refusal.DWELL)))

    found = await store.acks(since=NOON)
    assert found.site_no.tolist() == [0, 1, 5]
    assert found.refusal == (None, None, Refusal.ISLANDED)
    assert found.at_s.tolist() == [NOON_S + 60, NOON_S, NOON_S + 60]
    assert found.event_id == (EVENT, EVENT, EVENT)
    assert set(found.epoch.tolist()) == {epoch}
    assert set(found.sequence.tolist()) == {1}


async def test_acks_are_asked_for_by_when_their_command_was_issued(store: Store) -> None:
    epoch = await store.take_epoch(at=NOON)
    for number in (1, 2):
        await store.commit(a_tick(number, epoch, at=after(number)), [])

    await store.record_acks(acks((0, epoch, 1, None), (0, epoch, 2, None), at=after(9)))
    await store.record_acks(acks())

    assert (await store.acks(since=after(2))).sequence.tolist() == [2]
    assert len(await store.acks(since=after(3))) == 0


async def test_acks_are_asked_for_by_site_and_counted_by_what_they_say(store: Store) -> None:
    epoch = await store.take_epoch(at=NOON)
    await store.commit(a_tick(1, epoch), [])
    await store.record_acks(
        acks((0, epoch, 1, None), (1, epoch, 1, None), (5, epoch, 1, Refusal.ISLANDED), (7, epoch, 9, None))
    )

    assert (await store.acks(since=NOON, site_no=5)).refusal == (Refusal.ISLANDED,)
    assert len(await store.acks(since=NOON, site_no=2)) == 0
    assert (await store.acks(since=NOON, refused=True)).site_no.tolist() == [5]
    assert len(await store.acks(since=NOON, site_no=1, refused=True)) == 0
    assert dict(await store.count_acks(EVENT)) == {None: 2, Refusal.ISLANDED: 1}  # no tick told the last
    assert dict(await store.count_acks("another")) == {}


async def test_an_answer_told_again_is_counted_once_as_its_first_word(store: Store) -> None:
    epoch = await store.take_epoch(at=NOON)
    for number in (1, 2):
        await store.commit(a_tick(number, epoch), [])

    await store.record_acks(
        acks((0, epoch, 1, None), (1, epoch, 1, Refusal.DWELL), (1, epoch, 1, None), (1, epoch, 2, None))
    )
    await store.record_acks(
        acks((1, epoch, 1, None), (0, epoch, 1, Refusal.DWELL), (2, epoch, 1, None), (0, epoch, 2, None))
    )

    assert dict(await store.count_acks(EVENT)) == {None: 4, Refusal.DWELL: 1}


async def test_store_answers_that_it_is_ready(store: Store) -> None:
    try:
        await store.ready()
    except StoreUnavailable:
        pytest.fail("a store that was just opened is ready")


async def test_lead_that_somebody_holds_is_not_taken_by_another(store: Store) -> None:
    ours = await store.take_free_lead(at=NOON, holder="ours", lease_s=60)

    assert ours == NOON_S
    assert await store.take_free_lead(at=after(1), holder="theirs", lease_s=60) is None
    assert await store.renew_lead(NOON_S, lease_s=60)
    await store.commit(a_tick(1, NOON_S), [])


async def test_lead_goes_to_whoever_asks_when_its_lease_has_run_out(store: Store) -> None:
    await store.take_free_lead(at=NOON, holder="ours", lease_s=0)

    theirs = await store.take_free_lead(at=after(1), holder="theirs", lease_s=60)

    assert theirs == NOON_S + 60
    assert not await store.renew_lead(NOON_S, lease_s=60)
    assert await store.take_free_lead(at=after(2), holder="ours", lease_s=60) is None


async def test_lead_that_was_given_up_is_free_at_once(store: Store) -> None:
    await store.take_free_lead(at=NOON, holder="ours", lease_s=60)

    assert await store.renew_lead(NOON_S, lease_s=0)

    assert await store.take_free_lead(at=after(1), holder="theirs", lease_s=60) == NOON_S + 60


async def test_controller_that_was_killed_takes_the_lead_back_from_itself(store: Store) -> None:
    await store.take_free_lead(at=NOON, holder="ours", lease_s=60)

    assert await store.take_free_lead(at=NOON, holder="ours", lease_s=60) == NOON_S + 1


async def test_lead_taken_by_force_leaves_the_one_before_no_lease(store: Store) -> None:
    await store.take_free_lead(at=NOON, holder="ours", lease_s=60)
    await store.take_epoch(at=after(1))

    assert not await store.renew_lead(NOON_S, lease_s=60)

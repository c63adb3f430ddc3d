"""What every store promises about settlements, the ledger and the hash chain."""

from collections.abc import AsyncIterator
from dataclasses import replace
from fractions import Fraction

import pytest
from sqlmodel.ext.asyncio.session import AsyncSession

from tests.adapters.store_world import EVENT, NOON, a_settlement, a_tick, a_version, after, an_entry
from vpp.adapters.sql import books
from vpp.adapters.sql.tables import ChainLinkRow
from vpp.domain.interval import Interval
from vpp.domain.ledger import Account, EntryState, Posting
from vpp.domain.quantities import MicroDollars, WattHours
from vpp.domain.settlement import SettlementState, SettlementTotals, SiteQuality, totals_of
from vpp.ports import ConflictingFact, Store
from vpp.wire import facts


async def test_newest_settlement_of_an_event_is_given_back_whole(store: Store) -> None:
    await store.settle(a_settlement(amount=16_000_000))
    newest = a_settlement(amount=15_000_000, at=after(1))

    await store.settle(newest)
    await store.settle(newest)

    assert await store.settlement(EVENT) == newest
    assert await store.settlement("ev-unseen") is None


async def test_a_run_with_the_result_of_the_one_that_stands_is_not_stored(store: Store) -> None:
    standing = a_settlement()
    again = a_settlement(at=after(1))
    other_parts = replace(again, parts=(Interval(NOON, after(60)),))

    first = await store.settle(standing)
    second = await store.settle(again)
    corrected = await store.settle(replace(again, state=SettlementState.CORRECTED))
    assert first == second == corrected == totals_of(standing)
    assert await store.settlement(EVENT) == standing

    for news in (replace(again, state=SettlementState.FINAL), other_parts, replace(again, lines=())):
        assert await store.settle(news) == totals_of(news)
        assert await store.settlement(EVENT) == news


async def test_what_a_settlement_comes_to_is_known_without_its_lines(store: Store) -> None:
    one = a_settlement(amount=15_000_000)
    (line,) = one.lines
    ben = replace(line, site_id="s-ben", quality=SiteQuality.NO_BASELINE, hours=(), amount=MicroDollars(0))
    both = replace(one, lines=(line, ben), settled_at=after(1))
    await store.settle(one)
    await store.settle(both)

    assert await store.settlement_totals("ev-unseen") is None
    assert await store.settlement_totals(EVENT) == SettlementTotals(
        event_id=EVENT,
        program_id=one.program_id,
        state=SettlementState.PROVISIONAL,
        settled_at=after(1),
        sites=2,
        delivered_wh=WattHours(8_000),
        incremental_wh=Fraction(2 * 23_999, 3),
        amount=MicroDollars(15_000_000),
        gross=MicroDollars(30_000_000),
        qualities=((SiteQuality.ESTIMATED, 1), (SiteQuality.NO_BASELINE, 1)),
    )


async def test_settlements_come_by_event(store: Store) -> None:
    for event_id in ("ev-b", "ev-C", "ev-a"):
        await store.settle(a_settlement(event_id=event_id))
    await store.settle(a_settlement(event_id="ev-b", amount=10_000))

    found = await store.settlements()

    assert [(each.event_id, each.lines[0].amount) for each in found] == [
        ("ev-C", 16_000_000),
        ("ev-a", 16_000_000),
        ("ev-b", 10_000),
    ]


async def test_an_owner_is_given_the_own_lines_of_settlements_and_no_others(store: Store) -> None:
    both = a_settlement(event_id="ev-a")
    (line,) = both.lines
    ben = replace(line, site_id="s-ben", owner_id="o-ben")
    await store.settle(replace(both, lines=(line, ben)))
    await store.settle(a_settlement(event_id="ev-b"))

    assert await store.settlements(owner_id="o-ben") == [replace(both, lines=(ben,))]
    assert await store.settlements(owner_id="o-nobody") == []


async def test_going_back_to_an_earlier_result_is_a_new_run(store: Store) -> None:
    for amount in (16_000_000, 15_000_000, 16_000_000):
        await store.settle(a_settlement(amount=amount))

    assert await store.settlement(EVENT) == a_settlement(amount=16_000_000)


async def test_entries_come_back_whole_and_in_order(store: Store) -> None:
    pending = an_entry("e-2")
    voided = an_entry("e-1", state=EntryState.VOIDED, resolves="e-2")
    corrected = replace(an_entry("e-3"), corrects="e-2", settles=None)

    await store.post([pending, voided])
    await store.post([corrected])

    assert await store.entries() == [pending, voided, corrected]


async def test_owner_sees_the_entries_that_touch_them_and_no_others(store: Store) -> None:
    ada, ben = an_entry("e-1", owner_id="o-ada"), an_entry("e-2", owner_id="o-ben")
    ended = an_entry("e-3", owner_id="o-ada", state=EntryState.POSTED, resolves="e-1")
    paid = replace(
        ended,
        entry_id="e-4",
        resolves=None,
        postings=(
            Posting(Account.OWNER_PAYABLE, "o-ada", MicroDollars(100)),
            Posting(Account.PAID_OUT, "o-ada", MicroDollars(-100)),
        ),
    )
    await store.post([ada, ben, ended, paid])

    assert await store.entries(owner_id="o-ada") == [ada, ended, paid]
    assert await store.entries(owner_id="elrp-a4-pge") == []


async def test_entry_made_again_later_is_the_same_entry(store: Store) -> None:
    await store.post([an_entry("e-1")])
    head = await store.chain_head()

    await store.post([an_entry("e-1", at=after(5)), an_entry("e-1", at=after(6))])

    assert await store.entries() == [an_entry("e-1")]
    assert await store.chain_head() == head


async def test_another_entry_under_an_id_is_refused_with_its_whole_batch(store: Store) -> None:
    await store.post([an_entry("e-1", amount=10_000)])

    with pytest.raises(ConflictingFact, match="e-1"):
        await store.post([an_entry("e-2"), an_entry("e-1", amount=20_000)])

    assert await store.entries() == [an_entry("e-1", amount=10_000)]


async def test_pending_entry_is_ended_once(store: Store) -> None:
    await store.post([an_entry("e-1"), an_entry("e-2", state=EntryState.VOIDED, resolves="e-1")])
    head = await store.chain_head()

    with pytest.raises(ConflictingFact, match="ended once"):
        await store.post([an_entry("e-3", state=EntryState.POSTED, resolves="e-1")])

    assert len(await store.entries()) == 2
    assert await store.chain_head() == head


async def test_chain_runs_over_entries_events_and_ticks_in_the_order_of_commit(store: Store) -> None:
    assert await store.chain_head() == facts.GENESIS
    epoch = await store.take_epoch(at=NOON)

    await store.append_version(a_version(), actor="op-lin")
    await store.commit(a_tick(1, epoch), [])
    await store.post([an_entry("e-1"), an_entry("e-2")])

    head = facts.next_link(facts.GENESIS, "grid_event", a_version(), actor="op-lin")
    head = facts.next_link(head, "dispatch_tick", a_tick(1, epoch))
    head = facts.next_link(head, "journal_entry", an_entry("e-1"))
    assert await store.chain_head() == facts.next_link(head, "journal_entry", an_entry("e-2"))
    assert await store.verify_chain() is None


async def test_long_chain_holds(store: Store) -> None:
    await store.post([an_entry(f"e-{number}") for number in range(2_500)])

    assert await store.verify_chain() is None


async def test_a_published_head_keeps_its_link_while_the_books_grow(store: Store) -> None:
    assert await store.link_with("ab" * 32) == (None, 0)
    assert await store.newest_link() == (0, facts.GENESIS)
    await store.post([an_entry("e-1"), an_entry("e-2")])
    published = await store.chain_head()

    await store.post([an_entry("e-3")])

    assert await store.newest_link() == (3, await store.chain_head())
    assert await store.link_with(published) == (2, 3)
    assert await store.link_with(published[:16]) == (2, 3)
    assert await store.link_with(await store.chain_head()) == (3, 3)
    assert await store.link_with("ab" * 32) == (None, 3)


async def test_what_is_booked_while_the_chain_is_verified_does_not_stand_outside_of_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.post([an_entry("e-1")])
    read = books.links

    async def links_and_a_late_entry(session: AsyncSession) -> AsyncIterator[list[ChainLinkRow]]:
        async for some in read(session):
            yield some
        await store.post([an_entry("e-2")])

    monkeypatch.setattr(books, "links", links_and_a_late_entry)
    assert await store.verify_chain() is None
    monkeypatch.undo()
    assert await store.verify_chain() is None

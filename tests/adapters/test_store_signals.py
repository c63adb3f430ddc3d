"""What every store promises about raw signals, event versions, grants and receipts."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.adapters.store_world import EVENING, EVENT, a_raw_signal, a_receipt, a_signal, a_version, after
from vpp.domain.access import TrailEntry
from vpp.domain.grid_event import EventHistory, Grant, GrantKind, ReceiptState
from vpp.ports import ConflictingFact, Store


async def test_signal_stays_pending_until_it_is_answered(store: Store) -> None:
    older, newer = a_raw_signal("k-2", at=after(0)), a_raw_signal("k-1", at=after(1))
    await store.keep([newer, older])
    assert await store.pending() == [older, newer]

    await store.decide("k-2", a_receipt())

    assert await store.pending() == [newer]


async def test_signal_kept_twice_is_one_and_another_under_its_key_is_refused(store: Store) -> None:
    signal = a_raw_signal("k-1")
    await store.keep([signal])

    await store.keep([signal])
    with pytest.raises(ConflictingFact, match="k-1"):
        await store.keep([a_raw_signal("k-2"), a_raw_signal("k-1", payload=b"[]")])

    assert await store.pending() == [signal]


async def test_answer_commits_receipt_key_and_version_together(store: Store) -> None:
    await store.keep([a_raw_signal("k-1")])

    await store.decide("k-1", a_receipt(), signal=a_signal(), version=a_version())

    assert await store.receipts(EVENT) == [a_receipt()]
    assert await store.seen(a_signal())
    assert await store.history(EVENT) == EventHistory((a_version(),), ())


async def test_same_answer_again_changes_nothing(store: Store) -> None:
    await store.keep([a_raw_signal("k-1")])

    for _ in range(2):
        await store.decide("k-1", a_receipt(), signal=a_signal(), version=a_version())
    head = await store.chain_head()
    await store.decide("k-1", a_receipt(), signal=a_signal(), version=a_version())

    assert await store.receipts(EVENT) == [a_receipt()]
    assert await store.chain_head() == head


async def test_second_different_answer_is_refused_and_leaves_nothing_behind(store: Store) -> None:
    await store.keep([a_raw_signal("k-1")])
    await store.decide("k-1", a_receipt())

    with pytest.raises(ConflictingFact, match="answered accepted already"):
        await store.decide("k-1", a_receipt(ReceiptState.REJECTED), version=a_version())
    with pytest.raises(ConflictingFact, match="no signal is kept"):
        await store.decide("k-9", a_receipt())

    assert await store.history(EVENT) is None


async def test_only_accepted_and_superseded_signals_count_as_seen(store: Store) -> None:
    await store.keep([a_raw_signal("k-1"), a_raw_signal("k-2")])
    rejected, superseded = a_signal(content="a"), a_signal(content="b")

    await store.decide("k-1", a_receipt(ReceiptState.REJECTED), signal=rejected)
    await store.decide("k-2", a_receipt(ReceiptState.SUPERSEDED), signal=superseded)

    assert not await store.seen(rejected)
    assert await store.seen(superseded)
    assert not await store.seen(a_signal(content="b", at=after(1)))


async def test_signal_that_is_rejected_first_may_be_accepted_later(store: Store) -> None:
    await store.keep([a_raw_signal("k-1"), a_raw_signal("k-2")])

    await store.decide("k-1", a_receipt(ReceiptState.REJECTED), signal=a_signal())
    await store.decide("k-2", a_receipt(at=after(1)), signal=a_signal(), version=a_version())

    assert await store.seen(a_signal())
    assert [each.state for each in await store.receipts(EVENT)] == ["rejected", "accepted"]


async def test_versions_and_grants_come_back_as_they_were_in_order(store: Store) -> None:
    forced = Grant(EVENT, 1, GrantKind.FORCE, "op-lin", after(2))
    approved = Grant(EVENT, 2, GrantKind.APPROVE, "op-max", after(1))
    for version in (a_version(1), a_version(2, power=None), a_version(3, interval=None)):
        await store.append_version(version, actor="op-lin")

    for grant in (forced, approved, Grant(EVENT, 1, GrantKind.FORCE, "op-max", after(3))):
        await store.grant(grant)

    assert await store.history(EVENT) == EventHistory(
        (a_version(1), a_version(2, power=None), a_version(3, interval=None)), (approved, forced)
    )
    assert await store.history("ev-unseen") is None


async def test_what_a_person_did_stands_in_the_trail_once_with_its_version_or_grant(store: Store) -> None:
    subject, grant = f"event:{EVENT}", Grant(EVENT, 1, GrantKind.FORCE, "op-lin", after(2))
    started = TrailEntry(after(1), "op-lin", "start", subject, "", "r-1")
    forced = TrailEntry(after(2), "op-lin", "force", subject, "", "r-2")

    for _ in range(2):
        await store.append_version(a_version(1), actor="op-lin", told=started)
        await store.grant(grant, forced)
    with pytest.raises(ConflictingFact):
        await store.append_version(a_version(1, power=900_000), actor="op-lin", told=started)

    assert await store.trail(subject=subject) == [forced, started]


async def test_another_version_under_the_same_number_is_refused(store: Store) -> None:
    await store.append_version(a_version(power=700_000), actor="op-lin")
    head = await store.chain_head()

    await store.append_version(a_version(power=700_000), actor="op-lin")
    with pytest.raises(ConflictingFact, match="another version 1"):
        await store.append_version(a_version(power=900_000), actor="op-lin")

    assert await store.chain_head() == head


async def test_events_of_the_past_are_left_out_when_a_time_is_given(store: Store) -> None:
    for event_id, interval in (("ev-b", EVENING), ("ev-C", None), ("ev-a", EVENING)):
        await store.append_version(a_version(event_id=event_id, interval=interval), actor="op-lin")

    async def ids(ending_after: timedelta | None) -> list[str]:
        at = None if ending_after is None else EVENING.ends_at + ending_after
        return [each.latest.event_id for each in await store.histories(ending_after=at)]

    assert await ids(None) == ["ev-C", "ev-a", "ev-b"]
    assert await ids(-timedelta(seconds=1)) == ["ev-a", "ev-b"]
    assert await ids(timedelta(0)) == []


async def test_event_that_was_cancelled_is_left_out_once_both_its_end_and_the_cancel_are_past(
    store: Store,
) -> None:
    unseen = a_version(event_id="ev-unseen", interval=None)
    await store.append_version(a_version(1), actor="op-lin")
    await store.append_version(a_version(2, interval=None), actor="op-lin")
    await store.append_version(unseen, actor="op-lin")

    async def ids(ending_after: datetime) -> list[str]:
        return [each.latest.event_id for each in await store.histories(ending_after=ending_after)]

    assert await ids(unseen.committed_at - timedelta(seconds=1)) == [EVENT, "ev-unseen"]
    assert await ids(EVENING.ends_at - timedelta(seconds=1)) == [EVENT]
    assert await ids(EVENING.ends_at) == []


async def test_shortened_event_still_counts_by_its_longest_version(store: Store) -> None:
    await store.append_version(a_version(1), actor="op-lin")
    await store.append_version(a_version(2, interval=None), actor="op-lin")

    (history,) = await store.histories(ending_after=EVENING.starts_at)

    assert [each.version for each in history.versions] == [1, 2]


async def test_what_was_accepted_of_a_source_comes_back_with_its_answers_in_their_order(store: Store) -> None:
    raws = [a_raw_signal(f"k-{number}", at=after(9 - number)) for number in range(4)]
    foreign = replace(a_raw_signal("k-9"), source="elsewhere")
    answers = [a_receipt(), a_receipt(ReceiptState.REJECTED), replace(a_receipt(), at=after(40))]
    await store.keep([*raws, foreign])
    for raw, answer in zip(raws, answers, strict=False):  # the last is not answered
        await store.decide(raw.key, answer)
    await store.decide(foreign.key, replace(a_receipt(), source="elsewhere"))

    found = await store.accepted_signals(raws[0].source)

    assert found == [(answers[0], raws[0]), (answers[2], raws[2])]
    assert await store.accepted_signals(raws[0].source, event_id=answers[0].event_id) == found
    assert await store.accepted_signals(raws[0].source, event_id="ev-other") == []
    assert await store.accepted_signals("elsewhere", event_id=answers[0].event_id) != found
    assert await store.accepted_signals("nobody") == []

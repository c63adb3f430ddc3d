"""What becomes of each grid signal: versions, ownership, cancel, program and order of arrival."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.grid_world import COMMIT, HOUR, START, history, program, signal, version
from vpp.domain.grid_event import (
    ENDLESS_S,
    FAR_FUTURE,
    EventHistory,
    EventStatus,
    GridEvent,
    Operation,
    Signal,
    SignalStep,
    Step,
)
from vpp.domain.interval import Interval
from vpp.domain.program import Program
from vpp.domain.quantities import Watts
from vpp.domain.verdict import (
    CANCELLED,
    CONFLICTING_CONTENT,
    NOT_YOUR_EVENT,
    TOO_FAR_AHEAD,
    UNKNOWN_PROGRAM,
    Accepted,
    Duplicate,
    Rejected,
    Superseded,
    Verdict,
    accept,
)

ELRP = program()
MINUTE = timedelta(minutes=1)


def judge(
    said: Signal,
    before: EventHistory | None = None,
    *,
    known: Program | None = ELRP,
    counted: tuple[Interval, ...] = (),
    unknown_targets: tuple[str, ...] = (),
    seen: bool = False,
    contradicted: bool = False,
    late: timedelta = timedelta(0),
) -> Verdict:
    """Return the verdict on a signal that arrives so long after COMMIT."""
    return accept(
        said,
        before,
        program=known,
        counted=counted,
        unknown_targets=unknown_targets,
        seen=seen,
        contradicted=contradicted,
        now=COMMIT + late,
    )


def accepted(verdict: Verdict) -> GridEvent:
    """Return the version of a verdict that must be an acceptance."""
    assert isinstance(verdict, Accepted), verdict
    assert verdict.version is not None
    return verdict.version


def test_first_signal_of_an_event_becomes_its_first_version() -> None:
    event = accepted(judge(signal()))

    assert (event.version, event.status, event.committed_at) == (1, EventStatus.SCHEDULED, COMMIT)
    assert event.steps == (Step(Interval(START, START + 2 * HOUR), Watts(5_000_000)),)
    assert event.out_of_program == ()


@pytest.mark.parametrize(
    ("name", "test"),
    [("TEST drill", True), (" TEST", True), ("TESTING", False), ("EEA 2 TEST", False), ("", False)],
)
def test_test_as_the_first_word_of_a_name_makes_a_test(name: str, test: bool) -> None:
    assert accepted(judge(replace(signal(), name=name))).test is test


def test_same_signal_again_is_a_duplicate() -> None:
    assert judge(signal(), history(version()), seen=True) == Duplicate()


def test_other_content_under_the_same_time_is_rejected() -> None:
    assert judge(signal(content="b"), history(version()), contradicted=True) == Rejected(CONFLICTING_CONTENT)


def test_newer_signal_supersedes_and_older_one_is_superseded() -> None:
    before = history(version(modified_at=COMMIT))

    newer = judge(signal(modified_at=COMMIT + MINUTE), before)
    older = judge(signal(modified_at=COMMIT - MINUTE), before)

    assert accepted(newer).version == 2
    assert older == Superseded()


def test_update_of_the_same_instant_comes_after_the_create() -> None:
    updated = signal(operation=Operation.UPDATE)
    later = history(accepted(judge(updated)))

    assert accepted(judge(updated, history(version()))).version == 2
    assert judge(signal(), later) == Superseded()


@pytest.mark.parametrize(
    ("ahead", "taken"), [(timedelta(minutes=5), True), (timedelta(minutes=5, seconds=1), False)]
)
def test_modification_more_than_five_minutes_ahead_is_rejected(ahead: timedelta, taken: bool) -> None:
    verdict = judge(signal(modified_at=COMMIT + ahead))

    assert isinstance(verdict, Accepted) if taken else verdict == Rejected(TOO_FAR_AHEAD)


def test_event_belongs_to_the_source_that_sent_it_first() -> None:
    before = history(version(source="caiso"))

    for operation in Operation:
        verdict = judge(signal(source="pge", operation=operation, modified_at=COMMIT + MINUTE), before)
        assert verdict == Rejected(NOT_YOUR_EVENT)


def test_signal_of_an_unknown_program_is_rejected_but_its_delete_is_not() -> None:
    assert judge(signal(), known=None) == Rejected(UNKNOWN_PROGRAM)
    assert accepted(judge(signal(operation=Operation.DELETE), known=None)).status is EventStatus.CANCELLED


@pytest.mark.parametrize("ahead", [-HOUR, timedelta(0), HOUR])
def test_delete_cancels_whatever_its_time(ahead: timedelta) -> None:
    before = history(version(modified_at=COMMIT))

    event = accepted(
        judge(signal(operation=Operation.DELETE, modified_at=COMMIT + ahead), before, late=MINUTE)
    )

    assert (event.version, event.status, event.steps) == (2, EventStatus.CANCELLED, ())
    assert event.committed_at == COMMIT + MINUTE


def test_delete_keeps_the_name_and_program_of_what_it_cancels() -> None:
    said = signal(operation=Operation.DELETE)
    bare = Signal(**{name: getattr(said, name) for name in said.__slots__} | {"program_id": "", "name": ""})

    event = accepted(judge(bare, history(version())))

    assert (event.program_id, event.name) == ("elrp", "EEA 2")


def test_delete_of_an_unseen_event_is_kept_and_final() -> None:
    unseen = accepted(judge(signal(operation=Operation.DELETE)))

    create = judge(signal(modified_at=COMMIT + MINUTE), history(unseen))

    assert unseen.version == 1
    assert create == Rejected(CANCELLED)


def test_delete_that_comes_again_with_a_newer_time_is_accepted_and_moves_nothing() -> None:
    created = accepted(judge(signal()))
    deleted = accepted(judge(signal(operation=Operation.DELETE), history(created), late=MINUTE))

    resent = signal(operation=Operation.DELETE, modified_at=COMMIT + MINUTE)
    again = judge(resent, history(created, deleted), late=2 * MINUTE)

    assert again == Accepted(None, None)


def test_cancel_by_duration_is_not_final() -> None:
    cancelled = accepted(judge(signal(cancels=True, operation=Operation.UPDATE), history(version())))

    revived = judge(
        signal(operation=Operation.UPDATE, modified_at=COMMIT + MINUTE), history(version(), cancelled)
    )

    assert cancelled.status is EventStatus.CANCELLED
    assert accepted(revived).status is EventStatus.SCHEDULED


def test_start_at_once_is_the_first_commit_and_later_versions_keep_it() -> None:
    at_once = signal(starts_at=None)
    first = accepted(judge(at_once, late=timedelta(seconds=7.9)))

    updated = signal(starts_at=None, operation=Operation.UPDATE, modified_at=COMMIT + MINUTE)
    second = accepted(judge(updated, history(first), late=HOUR))
    fixed = signal(operation=Operation.UPDATE, modified_at=COMMIT + 2 * MINUTE)
    third = accepted(judge(fixed, history(first, second), late=HOUR))

    assert first.steps[0].interval.starts_at == COMMIT + timedelta(seconds=7)
    assert second.steps[0].interval.starts_at == COMMIT + timedelta(seconds=7)
    assert third.steps[0].interval.starts_at == START


def test_endless_event_ends_in_the_far_future_and_is_flagged() -> None:
    event = accepted(judge(signal(steps=(SignalStep(0, START, ENDLESS_S, None),))))

    assert event.steps[0].interval.ends_at == FAR_FUTURE
    assert event.out_of_program == ("out_of_window", "too_long", "season_cap")


def test_signal_out_of_program_is_stored_with_its_flags_and_says_so() -> None:
    verdict = judge(signal(starts_at=START + 2 * HOUR))

    assert accepted(verdict).out_of_program == ("out_of_window",)
    assert verdict == Accepted(accepted(verdict), "out_of_program:out_of_window")


def test_hours_of_other_events_count_against_the_season() -> None:
    sixty_hours = tuple(
        Interval(START - timedelta(days=day), START - timedelta(days=day) + 3 * HOUR) for day in range(1, 21)
    )

    assert accepted(judge(signal(), counted=sixty_hours)).out_of_program == ("season_cap",)


def test_announcement_alone_uses_no_window_and_no_hours() -> None:
    all_day = signal(steps=(SignalStep(0, START - 8 * HOUR, 86_400, Watts(0)),))
    announced_then_asked = signal(
        steps=(SignalStep(0, START - 5 * HOUR, 5 * 3_600, Watts(0)), SignalStep(0, START, 7_200, None))
    )

    assert accepted(judge(all_day)).out_of_program == ()
    assert accepted(judge(announced_then_asked)).out_of_program == ()


def test_target_of_no_kind_is_named_and_the_signal_still_accepted() -> None:
    verdict = judge(signal(), unknown_targets=("alamda", "x9"))

    assert verdict == Accepted(accepted(verdict), "unknown_target:alamda; unknown_target:x9")


def said_of_one_event(minutes: list[int], deleted: bool) -> list[Signal]:
    """Return a CREATE and its UPDATEs, some of which cancel, and perhaps a DELETE."""
    signals = [
        signal(
            operation=Operation.UPDATE if number else Operation.CREATE,
            modified_at=COMMIT + minute * MINUTE,
            content=f"{number}",
            cancels=number % 3 == 2,
            power=1_000 * (number + 1),
        )
        for number, minute in enumerate(minutes)
    ]
    return [*signals, signal(operation=Operation.DELETE, content="gone")] if deleted else signals


@given(st.lists(st.integers(0, 200), min_size=1, max_size=6, unique=True), st.booleans(), st.randoms())
def test_any_order_with_copies_leads_to_the_same_latest_version(
    minutes: list[int], deleted: bool, shuffled: random.Random
) -> None:
    signals = said_of_one_event(sorted(minutes), deleted)
    arriving = signals + shuffled.choices(signals, k=3)
    shuffled.shuffle(arriving)

    versions: list[GridEvent] = []
    judged: set[str] = set()
    for said in arriving:
        verdict = judge(
            said,
            history(*versions) if versions else None,
            seen=said.content_sha256 in judged,
            late=timedelta(hours=5),
        )
        if isinstance(verdict, Accepted) and verdict.version is not None:
            versions.append(verdict.version)
        if isinstance(verdict, Accepted | Superseded):
            judged.add(said.content_sha256)

    newest = signals[-1]
    latest = versions[-1]
    assert latest.content_sha256 == newest.content_sha256
    assert (latest.status is EventStatus.CANCELLED) == newest.cancels
    assert [event.version for event in versions] == list(range(1, len(versions) + 1))

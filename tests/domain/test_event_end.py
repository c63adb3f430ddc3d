"""When an event is over: its end, its cancel, and cancels after either."""

from datetime import timedelta

from tests.domain.grid_world import COMMIT, START, history, version
from vpp.domain.event_end import cancelled_at, ended_at

MINUTE = timedelta(minutes=1)
END = START + timedelta(hours=2)


def test_an_event_that_nobody_cancels_is_over_at_the_end_of_what_was_asked_last() -> None:
    assert ended_at(history(version(), version(2, hours=1))) == START + timedelta(hours=1)
    assert cancelled_at(history(version())) is None


def test_a_cancelled_event_is_over_at_the_first_cancel_and_a_second_moves_nothing() -> None:
    first = version(2, cancelled=True, committed_at=START + MINUTE)
    second = version(3, cancelled=True, committed_at=START + 2 * MINUTE)

    cancelled_twice = history(version(), first, second)

    assert ended_at(cancelled_twice) == cancelled_at(cancelled_twice) == START + MINUTE


def test_a_cancel_after_the_end_is_none() -> None:
    late = history(version(), version(2, cancelled=True, committed_at=END + MINUTE))

    assert (ended_at(late), cancelled_at(late)) == (END, None)


def test_an_event_that_asks_again_after_a_cancel_is_cancelled_by_the_later_one() -> None:
    again = history(
        version(),
        version(2, cancelled=True, committed_at=COMMIT + MINUTE),
        version(3, committed_at=COMMIT + 2 * MINUTE),
        version(4, cancelled=True, committed_at=START + MINUTE),
    )

    assert ended_at(again) == START + MINUTE


def test_an_event_that_was_deleted_before_it_came_is_over_at_that_commit() -> None:
    assert ended_at(history(version(cancelled=True))) == COMMIT

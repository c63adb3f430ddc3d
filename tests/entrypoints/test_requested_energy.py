"""What events that overlap ask of a fleet: never the same instant twice."""

from dataclasses import replace
from datetime import timedelta

from tests.adapters.store_world import EVENING, NOON, a_revision, a_version
from vpp.domain.grid_event import EventHistory
from vpp.domain.interval import Interval
from vpp.entrypoints.operations.events import asks_for_all, requested_wh

HOUR = timedelta(hours=1)
PLANNED = (a_revision().at, a_revision().requested_w)
FIRST_HOUR = Interval(EVENING.starts_at, EVENING.starts_at + HOUR)


def a_history(power_w: int | None) -> EventHistory:
    """Return an event of the evening that lies inside its program."""
    return EventHistory((replace(a_version(power=power_w), out_of_program=()),), ())


def test_an_event_asks_for_its_power_for_as_long_as_it_lasts() -> None:
    assert requested_wh(a_history(700_000), []) == 1_400_000


def test_event_that_asks_for_all_asks_for_what_its_plans_took_for_the_target() -> None:
    history = a_history(None)

    assert asks_for_all(history) == (EVENING,)
    assert PLANNED[0] == NOON
    assert requested_wh(history, [PLANNED]) == 1_400_000


def test_who_is_asked_for_everything_is_not_asked_for_more() -> None:
    assert requested_wh(a_history(700_000), [], but_for=[FIRST_HOUR]) == 700_000
    assert requested_wh(a_history(None), [PLANNED], but_for=[FIRST_HOUR]) == 700_000
    assert asks_for_all(a_history(700_000)) == ()

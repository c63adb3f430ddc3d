"""How far an event's commands are, from what was sent, answered and measured."""

import numpy as np

from tests.domain.test_proof import BEGIN_S, EVENT_S, RESPONSE, SITES, Homes, Sampled
from vpp.domain.command import Refusal
from vpp.domain.fanout import Fanout, fanout
from vpp.domain.proof import state_now
from vpp.domain.quantities import BoolColumn


def how_far(homes: Homes, *, unsent: int = 0, serving: BoolColumn | None = None) -> Fanout:
    found = homes.judged()
    return fanout(
        homes.leases, homes.log, state_now(found, homes.leases, homes.log),
        homes.leases.discharging(homes.now_s) if serving is None else serving,
        RESPONSE, unsent=unsent, now_s=homes.now_s, judged_from_s=BEGIN_S,
    )  # fmt: skip


def an_evening(seconds: int, homes: Homes) -> None:
    """Let most homes give what they were told; the first is silent, the second gives little."""
    while homes.now_s < BEGIN_S + seconds:
        homes.now_s += 15
        homes.hear([None, Sampled(500), *[Sampled(2_000)] * (SITES - 2)])


def test_what_is_committed_counts_as_sent_only_when_it_was_handed_over() -> None:
    homes = Homes()

    assert how_far(homes, unsent=SITES) == Fanout(SITES, 0, 0, 0, 0, RESPONSE.settling_s)
    assert how_far(homes, unsent=5).sent == SITES - 5
    assert how_far(homes).sent == SITES


def test_an_answer_is_counted_at_once_and_proves_nothing() -> None:
    homes = Homes()
    homes.answer({0: None, 1: None, 2: Refusal.FAULTED})

    found = how_far(homes)

    assert (found.acknowledged, found.failed, found.delivering) == (2, 1, 0)


def test_the_estimate_runs_down_to_when_the_last_home_can_be_judged() -> None:
    homes = Homes()
    homes.answer(dict.fromkeys(range(SITES)))
    an_evening(60, homes)

    assert how_far(homes).done_in_s == RESPONSE.settling_s - 60


def test_homes_that_deliver_and_homes_that_fail_are_told_apart_and_nobody_is_on_the_way_then() -> None:
    homes = Homes()
    homes.answer(dict.fromkeys(range(SITES)))
    for seconds in range(60, 300, 15):
        an_evening(seconds, homes)
        homes.judged()

    found = how_far(homes)

    assert found == Fanout(SITES, SITES, SITES, SITES - 2, 2, None)


def test_homes_of_another_event_are_not_counted() -> None:
    homes = Homes()
    mine = np.arange(SITES) < 4

    assert how_far(homes, serving=mine).asked == 4


def test_a_home_that_delivered_is_not_called_starting_when_its_event_winds_down() -> None:
    homes = Homes()
    homes.answer(dict.fromkeys(range(SITES)))
    for seconds in range(15, EVENT_S - 15, 15):
        if seconds == 600:
            homes.tell(dict.fromkeys(range(SITES), 2_000))  # a renewal
        an_evening(seconds, homes)
        found = homes.judged()

    assert found.waiting[-1]  # it counts as before: the plan does not move in the last minutes
    assert how_far(homes).delivering == SITES - 2
    assert how_far(homes).done_in_s is None  # nobody is judged any more

"""Samples from ahead of our clock, within its tolerance: they keep no later word of the home waiting."""

from datetime import timedelta
from typing import Any

import pytest

from tests.stages.test_collect import ADA, Street, a_sample
from tests.stages.world import EVENING
from vpp.domain.interval import to_epoch

CAUTION: list[tuple[dict[str, Any], str, object]] = [
    ({"opted_out": True}, "opted_out_at_home", True),
    ({"grid_connected": False}, "islanded", True),
    ({"storm_mode": True}, "storm_mode", True),
    ({"faulted": True}, "faulted", True),
    ({"reserve_permille": 700}, "home_reserve_permille", 700),
    ({"discharge_limit_w": 250}, "discharge_limit_w", 250),
]


@pytest.mark.parametrize(("said", "name", "value"), CAUTION)
async def test_sample_from_ahead_of_our_clock_keeps_no_later_word_of_the_home_waiting(
    said: dict[str, Any], name: str, value: object
) -> None:
    street = await Street.of_three()
    await street.announce("ev-1", EVENING - timedelta(minutes=10))
    await street.hear(a_sample(ADA, after_s=28))
    street.clock.step_to(EVENING + timedelta(seconds=5))

    collected = await street.hear(a_sample(ADA, after_s=5, **said))

    assert getattr(street.fleet, name)[ADA] == value
    assert (collected.refused, collected.stored) == ({}, {"telemetry": 1})
    if name != "discharge_limit_w":
        assert collected.changed.tolist() == [ADA]
    if name == "opted_out_at_home":
        assert await street.noes("ev-1") == [("s-0000", "home", True)]


async def test_sample_from_ahead_of_our_clock_counts_as_of_when_it_came() -> None:
    street = await Street.of_three()

    await street.hear(a_sample(ADA, after_s=28))

    assert street.fleet.sampled_at_s[ADA] == to_epoch(EVENING)


@pytest.mark.parametrize("copied_after_s", [0, 10, 28, 29])
async def test_copy_of_a_sample_from_ahead_of_our_clock_takes_no_word_back(copied_after_s: int) -> None:
    street = await Street.of_three()
    await street.announce("ev-1", EVENING - timedelta(minutes=10))
    ahead = [a_sample(ADA, after_s=20), a_sample(ADA, after_s=28)]
    await street.hear(*ahead)
    street.clock.step_to(EVENING + timedelta(seconds=5))
    await street.hear(a_sample(ADA, after_s=5, opted_out=True, grid_connected=False))
    street.clock.step_to(EVENING + timedelta(seconds=5 + copied_after_s))

    for copy in (*ahead, a_sample(ADA, after_s=3)):
        await street.hear(copy)

    assert street.fleet.opted_out_at_home[ADA]
    assert street.fleet.islanded[ADA]
    assert await street.noes("ev-1") == [("s-0000", "home", True)]


async def test_what_says_a_time_before_a_sample_from_ahead_came_is_old() -> None:
    street = await Street.of_three()
    await street.hear(a_sample(ADA, after_s=28))
    street.clock.step_to(EVENING + timedelta(seconds=5))

    replayed = await street.hear(a_sample(ADA, after_s=-1, opted_out=True))

    assert replayed.refused == {("telemetry", "older_than_known"): 1}
    assert not street.fleet.opted_out_at_home[ADA]


async def test_home_takes_its_word_back_as_soon_as_it_says_a_later_time() -> None:
    street = await Street.of_three()
    await street.hear(a_sample(ADA, after_s=28, opted_out=True, reserve_permille=700))
    street.clock.step_to(EVENING + timedelta(seconds=29))

    await street.hear(a_sample(ADA, after_s=29))

    assert not street.fleet.opted_out_at_home[ADA]
    assert street.fleet.home_reserve_permille[ADA] != 700

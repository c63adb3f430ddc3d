"""What settlement works out by columns is, bit for bit, what a plain walk over the sites works out."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.domain.money_world import EVENT_DAY, an_event
from vpp.domain.baseline import (
    DROP_CODES,
    LOOKBACK_DAYS,
    METHODS,
    Baselines,
    DayEnergies,
    DayOfAdjustment,
    baseline_method,
)
from vpp.domain.delivery import QUALITY_CODES
from vpp.domain.quantities import IntColumn, column
from vpp.domain.rest_days import rest_days
from vpp.domain.settlement import BaselineDays, SettlementReason, SiteQuality
from vpp.domain.site_earnings import _chosen_days, _EventEnergy, _verdict, _verdicts

ADJUSTING = {name: each.adjustment for name, each in METHODS.items() if each.adjustment is not None}
WATT_HOURS = st.integers(-(10**15), 10**15) | st.integers(-5, 5)


def a_factor(bounds: DayOfAdjustment, metered_wh: int, baseline_wh: Fraction) -> Fraction:
    """Return what one site's baseline is multiplied by, as fractions say it."""
    if baseline_wh <= 0:
        return Fraction(1)
    return min(max(metered_wh / baseline_wh, bounds.lowest), bounds.highest)


@pytest.mark.parametrize("method", sorted(ADJUSTING))
@given(sites=st.lists(st.tuples(WATT_HOURS, WATT_HOURS, st.sampled_from([1, 4, 5, 10, 100])), min_size=1))
@example(sites=[(3_000, 20_000, 10), (0, 0, 10), (-1, 10, 10), (28, 200, 10), (29, 200, 10), (1, -1, 1)])
def test_day_of_factors_are_those_of_each_site(method: str, sites: list[tuple[int, int, int]]) -> None:
    bounds = ADJUSTING[method]
    columns = (np.array(each, dtype=object) for each in zip(*sites, strict=True))

    numerators, denominators = bounds.factors(*columns)

    expected = [a_factor(bounds, wh, Fraction(summed, divisor)) for wh, summed, divisor in sites]
    found = list(zip(numerators.tolist(), denominators.tolist(), strict=True))
    assert found == [(each.numerator, each.denominator) for each in expected]
    assert all(type(part) is int for pair in found for part in pair)
    assert expected == [bounds.factor(wh, Fraction(summed, divisor)) for wh, summed, divisor in sites]


def days_of_each(days: DayEnergies, baselines: Baselines) -> list[BaselineDays]:
    """Return each site's chosen and dropped days, site by site."""
    return [
        BaselineDays(
            chosen=tuple(days.day(back) for back in range(LOOKBACK_DAYS) if chosen[back]),
            dropped=tuple(
                (days.day(back), str(DROP_CODES[dropped[back]]))
                for back in range(LOOKBACK_DAYS)
                if dropped[back]
            ),
        )
        for chosen, dropped in zip(baselines.chosen, baselines.dropped, strict=True)
    ]


def some_days(sites: int, seed: int) -> DayEnergies:
    """Return days of homes of which several are alike, and no two quite."""
    drawn = np.random.default_rng(seed)
    shape = (sites, LOOKBACK_DAYS, 3)
    kinds = drawn.integers(0, max(1, sites // 3), sites)
    return DayEnergies(
        EVENT_DAY,
        drawn.integers(-2_000, 5_000, shape),
        drawn.choice(len(QUALITY_CODES), shape, p=[0.9, 0.06, 0.02, 0.02])[kinds],
        drawn.choice(
            len(DROP_CODES), shape[:2], p=[0.85] + [0.15 / (len(DROP_CODES) - 1)] * (len(DROP_CODES) - 1)
        )[kinds],
    )


@pytest.mark.parametrize("method", sorted(METHODS))
@given(sites=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_chosen_and_dropped_days_are_those_of_each_site(method: str, sites: int, seed: int) -> None:
    days = some_days(sites, seed)
    baselines = baseline_method(method).select(days, rest_days("NERC"))

    found = _chosen_days(days, baselines)

    assert found == days_of_each(days, baselines)
    alike = {(each.chosen, each.dropped): each for each in found}
    assert all(alike[each.chosen, each.dropped] is each for each in found)


def test_homes_that_differ_in_one_day_only_are_told_apart_on_whichever_day_it_is() -> None:
    days = some_days(1, 1)
    plain = np.zeros((1 + 2 * LOOKBACK_DAYS, LOOKBACK_DAYS), dtype=np.int64)
    dropped, weights = plain.copy(), plain.copy()
    for back in range(LOOKBACK_DAYS):
        weights[1 + back, back] = 1
        dropped[1 + LOOKBACK_DAYS + back, back] = 1
    nobody = np.zeros(len(plain), dtype=np.bool_)
    baselines = Baselines(plain[:, :3], column(np.ones(len(plain))), nobody, nobody, weights, dropped)

    found = _chosen_days(days, baselines)

    assert found == days_of_each(days, baselines)
    assert len({id(each) for each in found}) == len(found)


def verdict_of_each(
    ends_s: int, metered: _EventEnergy, valid: NDArray[np.bool_], too_few: NDArray[np.bool_], out_s: IntColumn
) -> list[tuple[SiteQuality, SettlementReason | None]]:
    """Return each site's verdict, site by site."""
    few = (SettlementReason.TOO_FEW_SIMILAR_DAYS, SettlementReason.TOO_FEW_DAYS_OF_DATA)
    found = []
    for site in range(len(out_s)):
        counting = metered.seconds[site] > 0
        worst = int(max(metered.quality[site][counting], default=0))
        if counting.any() and not valid[site]:
            found.append((SiteQuality.NO_BASELINE, few[int(too_few[site])]))
        else:
            found.append(_verdict(QUALITY_CODES[worst], opted_out=bool(out_s[site] < ends_s)))
    return found


@given(seed=st.integers(0, 2**32))
def test_verdicts_are_those_of_each_site(seed: int) -> None:
    drawn, sites, event = np.random.default_rng(seed), 60, an_event()
    ends_s = int(event.parts[-1].ends_at.timestamp())
    metered = _EventEnergy(
        drawn.choice([0, 1_800, 3_600], (sites, 3)),
        drawn.integers(0, 5_000, (sites, 3)),
        drawn.integers(0, len(QUALITY_CODES), (sites, 3)),
    )
    valid, too_few = drawn.random(sites) < 0.7, drawn.random(sites) < 0.5
    out_s = column(ends_s + drawn.integers(-2, 3, sites))
    nothing = np.zeros((sites, LOOKBACK_DAYS), dtype=np.int64)
    baselines = Baselines(metered.seconds, column(np.ones(sites)), valid, too_few, nothing, nothing)

    assert _verdicts(event, metered, baselines, out_s) == verdict_of_each(
        ends_s, metered, valid, too_few, out_s
    )

"""Power samples check counters; they never take their place."""

from fractions import Fraction

import pytest

from vpp.domain.power_integral import PowerSample, Sampling, counters_agree, integrated_wh
from vpp.domain.quantities import WattHours, Watts

FIVE_MINUTES = 300


def samples(*powers_w: int) -> list[PowerSample]:
    return [PowerSample(FIVE_MINUTES * place, Watts(power)) for place, power in enumerate(powers_w)]


def test_instants_are_joined_by_straight_lines():
    energy = integrated_wh(samples(0, *[5_000] * 12), sampling=Sampling.INSTANT, until_s=3600)

    assert round(float(energy), 3) == 4_791.667


def test_means_hold_until_the_next_sample():
    means = samples(0, 2_500, *[5_000] * 9, 2_500)

    assert integrated_wh(means, sampling=Sampling.MEAN, until_s=3600) == Fraction(50_000, 12)


def test_the_order_of_samples_does_not_matter():
    forwards = samples(0, 1_000, 7_000, 300)

    for sampling in Sampling:
        assert integrated_wh(forwards, sampling=sampling, until_s=900) == integrated_wh(
            forwards[::-1], sampling=sampling, until_s=900
        )


def test_an_end_between_two_instants_is_on_the_line_between_them():
    assert integrated_wh(samples(0, 3_600), sampling=Sampling.INSTANT, until_s=150) == Fraction(75, 2)


def test_a_counter_within_half_a_percent_of_its_power_is_believed():
    counted = WattHours(12_323_700 - 12_319_540)

    assert counted == 4_160
    assert counters_agree(counted, Fraction(50_000, 12))


@pytest.mark.parametrize(
    ("counted", "integrated", "agrees"),
    [(20_100, 20_000, True), (20_101, 20_000, False), (1_050, 1_000, True), (1_051, 1_000, False)],
)
def test_the_tolerance_is_half_a_percent_or_fifty_watt_hours(counted: int, integrated: int, agrees: bool):
    assert counters_agree(WattHours(counted), Fraction(integrated)) is agrees


def test_nothing_is_guessed_where_samples_are_missing():
    with pytest.raises(ValueError, match="no power sample"):
        integrated_wh([], sampling=Sampling.MEAN, until_s=0)
    with pytest.raises(ValueError, match="300 s before the end"):
        integrated_wh(samples(0, 1), sampling=Sampling.INSTANT, until_s=600)

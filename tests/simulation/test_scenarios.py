"""Stories say what happened, in the standard's own objects."""

import json
from datetime import timedelta

import pytest

from simulators.scenario import UnknownScenario, load_scenario, scenario_names
from vpp.domain.grid_event import Signal, Step
from vpp.domain.interval import Interval
from vpp.domain.quantities import Watts
from vpp.domain.verdict import out_of_program
from vpp.settings import Settings, load_programs
from vpp.wire.openadr import decode_notification


@pytest.mark.parametrize("name", scenario_names())
def test_every_signal_of_a_story_is_one_that_the_controller_reads(name: str) -> None:
    scenario = load_scenario(name)

    for planned in scenario.signals:
        signal = decode_notification(planned.body(scenario.sites), source=scenario.source)
        assert isinstance(signal, Signal)
        assert signal.program_id == scenario.program_id
        assert scenario.starts_at < planned.send_at < scenario.ends_at


def test_demonstration_asks_half_a_megawatt_of_two_hundred_homes_for_two_hours() -> None:
    scenario = load_scenario("default")

    signal = decode_notification(scenario.signals[0].body(200), source="caiso")

    assert isinstance(signal, Signal)
    assert [(step.duration_s, step.power) for step in signal.steps] == [(7200, 500_000)]


def test_after_the_demonstration_there_is_time_for_an_hour_of_ones_own_inside_the_program() -> None:
    scenario = load_scenario("default")
    program = load_programs(Settings())[scenario.program_id]
    first, last = (scenario.ends_at + timedelta(minutes=minutes) for minutes in (0, 30))

    for starts_at in (first, last):
        hour = Step(Interval(starts_at, starts_at + timedelta(hours=1)), Watts(300_000))
        assert out_of_program(program, [hour], []) == ()


def test_evening_of_2022_has_its_two_levels_one_inside_the_other() -> None:
    scenario = load_scenario("2022-09-06")

    second, third = (json.loads(planned.body(3514))["object"] for planned in scenario.signals)

    assert second["intervalPeriod"]["start"] == "2022-09-06T23:00:00Z"  # 16:00 in California
    assert second["intervalPeriod"]["duration"] == "PT5H"
    assert third["intervalPeriod"]["start"] == "2022-09-07T00:17:00Z"  # 17:17
    assert third["intervalPeriod"]["duration"] == "PT2H43M"
    assert third["priority"] < second["priority"]
    assert "payloadDescriptors" not in third, "EEA 3 asks for all that can be sustained"


def test_public_record_of_2022_stands_beside_the_story_and_is_named() -> None:
    described = load_scenario("2022-09-06").described()

    assert described["record"]["homes"] == 3514
    assert described["record"]["peak_mw"] == 23.8
    assert described["record"]["energy_mwh"] == 46.3
    assert "season" in described["record"]["source"]
    assert described["event_ids"] == ["ev-2022-09-06-eea2", "ev-2022-09-06-eea3"]


def test_story_goes_on_after_its_last_event() -> None:
    scenario = load_scenario("2022-09-06")

    assert scenario.ends_at - scenario.signals[0].send_at > timedelta(hours=5)


def test_unknown_story_names_those_there_are() -> None:
    with pytest.raises(UnknownScenario, match="2022-09-06, default"):
        load_scenario("2031")

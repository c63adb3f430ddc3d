"""Every key of the stable answers is named in the help of the command that prints it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.entrypoints.pages.world import PROGRAM, a_suburb
from vpp.entrypoints.operations.events import force_event, list_events, show_event
from vpp.entrypoints.operations.money import settle_event, show_statement
from vpp.entrypoints.operations.sites import enroll_sites, why_site
from vpp.entrypoints.operations.starting import start_event
from vpp.wire.enrollment_file import HEADER

COUNTED_BY = {"reasons", "refused", "qualities"}  # their keys are words of lists, with counts


def keys(answer: object) -> Iterator[str]:
    """Yield every key of an answer, at any depth."""
    if isinstance(answer, dict):
        for key, value in answer.items():
            yield key
            if key not in COUNTED_BY:
                yield from keys(value)
    elif isinstance(answer, list):
        for each in answer:
            yield from keys(each)


def undocumented(answer: object, *operations: Callable[..., Any]) -> set[str]:
    """Return the keys that the descriptions of these operations do not name."""
    text = " ".join(operation.__doc__ or "" for operation in operations)
    named = {
        word for quoted in re.findall(r"``(.+?)``", text, re.DOTALL) for word in re.findall(r"\w+", quoted)
    }
    return set(keys(answer)) - named


def test_every_column_of_an_enrollment_file_is_in_the_help_of_its_command() -> None:
    assert set(HEADER) <= set(re.findall(r"\w+", enroll_sites.__doc__ or ""))


async def test_every_key_that_a_command_prints_is_in_its_help(tmp_path: Path) -> None:
    suburb = await a_suburb(tmp_path)
    desk = suburb.desk
    await start_event(
        desk, event_id="ev-1", program_id=PROGRAM, power_mw="0.02", minutes=30, actor="staff:ana"
    )
    await force_event(desk, event_id="ev-1", actor="staff:ben")
    await suburb.pass_time(2_000)
    await settle_event(desk, event_id="ev-1")

    shown = await show_event(desk, event_id="ev-1")

    assert shown["grants"]
    assert shown["plan"]
    assert shown["settlement"]
    assert undocumented(shown, show_event, list_events) == set()
    assert undocumented(await list_events(desk), list_events) == set()
    assert undocumented(await why_site(desk, site_id="s-001", event_id="ev-1"), why_site) == set()
    assert undocumented(await show_statement(desk, owner_id="o-s-001"), show_statement) == set()

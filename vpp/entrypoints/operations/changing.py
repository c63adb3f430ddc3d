"""Changing an event that stands: another power, another length, other homes; always a new version."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus

from vpp.domain.grid_event import GridEvent, Operation, Step
from vpp.domain.interval import Interval, whole_second
from vpp.domain.quantities import Watts
from vpp.domain.season_hours import counted_intervals
from vpp.domain.verdict import asked_span, out_of_program
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant, local_words
from vpp.entrypoints.operations.events import event_state, facts_with_leave, leave_now
from vpp.entrypoints.operations.starting import MINUTES_MOST, read_megawatts, read_targets


async def modify_event(
    desk: Desk,
    *,
    event_id: str,
    power_mw: str = "",
    minutes: int = 0,
    targets: Sequence[str] | None = None,
    actor: str,
) -> Json:
    """Change an event from now on; what was delivered until now stays under the version of that time.

    A version above the source's limit or outside the program waits for approval or force as a signal's
    would: until then each instant takes the smaller power of the old and the new one.

    Args:
        event_id: The event.
        power_mw: Megawatts for every stretch that asks for power, or ``all``; empty leaves them.
        minutes: New length from its start; 0 leaves it.
        targets: Names of utilities, groups, counties or feeders; None leaves them, none means all homes.
        actor: Who changes it, and therefore cannot approve it.

    Returns:
        What ``vpp event list`` has for it. The same again changes nothing.
    """
    history, now = await desk.history(event_id), whole_second(desk.clock.now())
    latest = history.latest
    state = event_state(history, now)
    if state in ("cancelled", "ended"):
        raise OperationRefused(f"event {event_id} is {state}; nothing changed", HTTPStatus.CONFLICT)
    if not power_mw and not minutes and targets is None:
        raise OperationRefused("give a power, a length or targets to change")
    steps = latest.steps
    if power_mw:
        steps = _at_power(steps, read_megawatts(power_mw))
    if minutes:
        steps = _until(steps, minutes, now, desk.time_zone(history.latest.program_id))
    program = desk.programs.get(latest.program_id)
    words = latest.targets if targets is None else read_targets(desk, program, targets)
    if (steps, words) != (latest.steps, latest.targets):
        version = replace(
            latest,
            version=latest.version + 1,
            operation=Operation.UPDATE,
            modified_at=max(now, latest.modified_at),
            content_sha256=_fingerprint(steps, words),
            steps=steps,
            targets=words,
            out_of_program=await _departures(desk, latest, steps),
            committed_at=now,
        )
        what = f"version {version.version}"
        entry = desk.trail_entry(actor, "modify", f"event:{event_id}", what)
        await desk.store.append_version(version, actor=actor, told=entry)
        desk.changed()
    return facts_with_leave(desk, await desk.history(event_id), await leave_now(desk))


def _at_power(steps: Sequence[Step], power_w: int | None) -> tuple[Step, ...]:
    power = None if power_w is None else Watts(power_w)
    return tuple(step if step.power == 0 else replace(step, power=power) for step in steps)


def _until(steps: Sequence[Step], minutes: int, now: datetime, zone: str) -> tuple[Step, ...]:
    """Return the steps cut, or the last one stretched, to a length from the first start."""
    if not 1 <= minutes <= MINUTES_MOST:
        raise OperationRefused(f"a length of {minutes} min is not 1 to {MINUTES_MOST}", field="minutes")
    ends_at = steps[0].interval.starts_at + timedelta(minutes=minutes)
    if ends_at <= now:
        raise OperationRefused(
            f"the event would have ended on {local_words(ends_at, zone)}; cancel it to end it now",
            field="minutes",
        )
    kept = [step for step in steps if step.interval.starts_at < ends_at]
    last = kept[-1]
    return (*kept[:-1], replace(last, interval=Interval(last.interval.starts_at, ends_at)))


def _fingerprint(steps: Sequence[Step], targets: Sequence[str]) -> str:
    asked = [(instant(step.interval.starts_at), instant(step.interval.ends_at), step.power) for step in steps]
    return hashlib.sha256(json.dumps([asked, list(targets)]).encode()).hexdigest()


async def _departures(desk: Desk, latest: GridEvent, steps: Sequence[Step]) -> tuple[str, ...]:
    program = desk.programs.get(latest.program_id)
    if program is None or asked_span(steps) is None:
        return latest.out_of_program
    sources = {source.name: source for source in await desk.store.sources()}
    others = [each for each in await desk.store.histories() if each.latest.event_id != latest.event_id]
    counted = counted_intervals(others, sources, program.program_id)
    return out_of_program(program, steps, counted)

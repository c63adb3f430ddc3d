"""How fast plans may change, in the fleet and in each zone that has a ramp cap (I18).

Rises are bounded within each pace. What falls on schedule is judged twice: ahead of the fall no plan may hold
more than can still be wound down, and at the fall nothing may go faster than a minute's cap. What homes
and owners say, and what a newer version asks, is followed at once and judged nowhere. Who is silent cannot
be told to give less: it keeps what it holds, and the others have to be down to what that leaves.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from simulators.findings import Findings
from vpp.domain.command import DispatchTick, PlanRevision
from vpp.domain.dispatch_plan import Reason, reason_code
from vpp.domain.grid_event import LEAD, EventHistory, steps_in_force
from vpp.domain.interval import to_epoch
from vpp.domain.quantities import BoolColumn, IntColumn
from vpp.domain.tick_basis import LastSamples
from vpp.settings import DispatchSettings

MINUTE = timedelta(minutes=1)
SILENT_AFTER_S = 60
SLEWED = 0.97
"""How much shorter the controller's seconds may be while its clock is set right."""
_SILENT = [reason_code(each) for each in (Reason.OFFLINE, Reason.STALE)]
_STILL_ABLE = [reason_code(each) for each in (Reason.SELECTED, Reason.NOT_NEEDED, Reason.FEEDER_LIMIT)]


@dataclass(frozen=True, slots=True)
class _Cap:
    """Watts a minute for some of the sites."""

    name: str
    w_per_min: int
    sites: BoolColumn


class RampChecker:
    """Judges how plans change from tick to tick. ``zone_of`` names each site's county.

    What one event loses to another of its source is no fall on schedule: the limit binds at once.
    """

    def __init__(self, findings: Findings, settings: DispatchSettings, zone_of: Sequence[str]) -> None:
        self._findings = findings
        self._pace_s = settings.tick_s
        self._caps = [
            _Cap(name, cap, np.array([zone == name for zone in zone_of]))
            for name, cap in sorted(settings.zone_ramp_w_per_min.items())
        ]
        if settings.fleet_ramp_w_per_min is not None:
            everybody = np.ones(len(zone_of), dtype=np.bool_)
            self._caps.append(_Cap("fleet", settings.fleet_ramp_w_per_min, everybody))
        self._rises: deque[tuple[float, IntColumn]] = deque()  # when, watts by cap
        self._asked: dict[str, tuple[int, int]] = {}  # version and power that an event's plan answers
        self._deaf: dict[str, BoolColumn] = {}  # who is silent, as of an event's newest plan
        self._sampled_s: IntColumn = np.zeros(len(zone_of), dtype=np.int64)

    def heard(self, samples: LastSamples) -> None:
        """Note how old the newest samples are that a tick was decided from."""
        self._sampled_s[samples.site_no] = samples.sampled_at_s

    def judge(
        self,
        tick: DispatchTick,
        revisions: Sequence[PlanRevision],
        before_w: Mapping[str, IntColumn],
        after_w: Mapping[str, IntColumn],
        histories: Sequence[EventHistory],
        *,
        ahead_s: float,
    ) -> None:
        """Judge one tick; setpoints are by event, one for each site, before and after its revisions.

        ``ahead_s`` is how far the clock of the tick is ahead of the time that power passes in.
        """
        if not self._caps:
            return
        self._judge_rises(to_epoch(tick.at) - ahead_s, revisions, before_w, after_w)
        news = any(version.committed_at > tick.at - MINUTE for each in histories for version in each.versions)
        for revision in revisions:
            others = [each for each in histories if each.latest.event_id != revision.event_id]
            if not (news or _turns(others, tick.at)):
                self._judge_fall(revision, before_w.get(revision.event_id), after_w)
            self._asked[revision.event_id] = revision.version, revision.requested_w
            self._deaf[revision.event_id] = self._silent(revision, to_epoch(tick.at))
        for history in () if news else histories:
            self._judge_ahead(tick, history, after_w.get(history.latest.event_id))

    def _judge_rises(
        self,
        now_s: float,
        revisions: Sequence[PlanRevision],
        before_w: Mapping[str, IntColumn],
        after_w: Mapping[str, IntColumn],
    ) -> None:
        for revision in revisions:
            after = after_w[revision.event_id]
            rise_w = np.maximum(after - before_w.get(revision.event_id, np.zeros_like(after)), 0)
            self._rises.append((now_s, np.array([int(rise_w[cap.sites].sum()) for cap in self._caps])))
        while self._rises and self._rises[0][0] <= now_s - self._pace_s * SLEWED:
            self._rises.popleft()
        risen_w = sum((watts for _, watts in self._rises), np.zeros(len(self._caps), dtype=np.int64))
        for cap, watts in zip(self._caps, risen_w.tolist(), strict=True):
            if watts > cap.w_per_min * self._pace_s // 60:
                what = f"plans rise by {watts} W in {self._pace_s} s under a cap of {cap.w_per_min} W/min"
                self._findings.report("I18", f"{cap.name}: {what}")

    def _judge_fall(
        self, revision: PlanRevision, before: IntColumn | None, after_w: Mapping[str, IntColumn]
    ) -> None:
        """Judge what falls because less is asked by the same version: never more than that.

        Whom a more important event takes falls for no schedule, however little it is asked there. For a home
        that fell silent since the plan before others make room at once: nobody knew it ahead of the fall.
        """
        version, asked_w = self._asked.get(revision.event_id, (0, 0))
        if before is None or version != revision.version or revision.requested_w >= asked_w:
            return
        after = after_w[revision.event_id]
        able = np.isin(revision.reason_code, _STILL_ABLE)
        deaf = self._silent(revision, to_epoch(revision.at))
        unforeseen_w = int(before[deaf & ~self._deaf.get(revision.event_id, ~deaf)].sum())
        for event_id, setpoint_w in after_w.items():
            able = able & ((setpoint_w == 0) | (event_id == revision.event_id))
        for cap in self._caps:
            fallen_w = int((before - after)[cap.sites & able].sum())
            if min(fallen_w, asked_w - revision.requested_w) > cap.w_per_min + unforeseen_w:
                what = (
                    f"{revision.event_id} falls by {fallen_w} W at once under a cap of {cap.w_per_min} W/min"
                )
                self._findings.report("I18", f"{cap.name}: {what}")

    def _silent(self, revision: PlanRevision, at_s: int) -> BoolColumn:
        """Return who cannot be told to give less: also one whose broker says that it is there again."""
        silent: BoolColumn = at_s - self._sampled_s > SILENT_AFTER_S
        return silent | np.isin(revision.reason_code, _SILENT)

    def _judge_ahead(self, tick: DispatchTick, history: EventHistory, plan_w: IntColumn | None) -> None:
        if plan_w is None:
            return
        deaf = self._deaf.get(history.latest.event_id, np.zeros(len(plan_w), dtype=np.bool_))
        for seconds, next_w in _falls_ahead(history, to_epoch(tick.at)):
            for cap in self._caps:
                held_w, most_w = int(plan_w[cap.sites].sum()), next_w + cap.w_per_min * seconds // 60
                if held_w > max(most_w, int(plan_w[cap.sites & deaf].sum())):
                    what = (
                        f"{history.latest.event_id} holds {held_w} W, {seconds} s before {next_w} W are asked"
                    )
                    self._findings.report("I18", f"{cap.name}: {what}, under a cap of {cap.w_per_min} W/min")


def _turns(histories: Sequence[EventHistory], at: datetime) -> bool:
    """Return whether one of these events began, or changed, lately: others of its source may get less."""
    return any(
        at - MINUTE - LEAD < edge <= at + LEAD
        for history in histories
        for step in steps_in_force(history)
        for edge in (step.interval.starts_at, step.interval.ends_at)
    )


def _falls_ahead(history: EventHistory, now_s: int) -> Iterator[tuple[int, int]]:
    """Yield in how many seconds which power is asked at the end of what runs and of each step after it."""
    steps = steps_in_force(history)
    if not any(
        to_epoch(step.interval.starts_at) <= now_s < to_epoch(step.interval.ends_at) for step in steps
    ):
        return
    for place, step in enumerate(steps):
        later = next((each for each in steps[place + 1 :]), None)
        ends_at = step.interval.ends_at
        power = 0 if later is None or later.interval.starts_at > ends_at else later.power
        if to_epoch(ends_at) > now_s and power is not None:
            yield to_epoch(ends_at) - now_s, power

"""What an event's plans and commands come to, added up once for each of them that was committed.

An evening commits a plan or a tick every few seconds, each with columns of the whole fleet. None changes
afterwards, so a page reads only what came since it was last asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from vpp.domain.command import Action, DispatchTick, PlanRevision
from vpp.domain.dispatch_plan import REASONS
from vpp.domain.quantities import IntColumn

_DISCHARGING, _RELEASED = 1, 2
_NO_SITES = np.zeros(0, dtype=np.int64)


@dataclass(slots=True)
class Dispatched:
    """The sums of an event's plan revisions and ticks so far. Columns are indexed by ``site_no``."""

    asked: list[tuple[datetime, int]] = field(default_factory=list)
    """When each plan was made and what it asked for, in W."""

    newest: PlanRevision | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)
    tick_number: int = 0
    ticks: int = 0
    sent: int = 0
    _setpoint_w: IntColumn = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    _last_told: IntColumn = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def revision(self) -> int:
        """Return the number of the newest plan, zero before any."""
        return self.newest.revision if self.newest else 0

    def add(self, revisions: Sequence[PlanRevision], ticks: Sequence[DispatchTick]) -> None:
        """Add what was committed, in order; what is known already changes nothing."""
        for revision in revisions:
            if revision.revision > self.revision:
                self._setpoint_w = _grown(self._setpoint_w, len(revision.reason_code))
                self._setpoint_w[revision.site_no] = revision.setpoint_w
                self.asked.append((revision.at, revision.requested_w))
                self.reasons = _by_reason(revision)
                # Its columns are summed up and need not be kept.
                self.newest = replace(
                    revision, site_no=_NO_SITES, setpoint_w=_NO_SITES, reason_code=_NO_SITES
                )
        for tick in ticks:
            if tick.number > self.tick_number:
                self.tick_number, self.ticks = tick.number, self.ticks + 1
                for order in tick.orders:
                    self._last_told = _grown(self._last_told, 1 + int(order.site_no.max(initial=-1)))
                    told = _DISCHARGING if order.action is Action.DISCHARGE else _RELEASED
                    self._last_told[order.site_no] = told
                    self.sent += len(order.site_no)

    @property
    def planned(self) -> tuple[int, int]:
        """Return what the sites were given by the plans so far, in W, and how many were given any."""
        return int(self._setpoint_w.sum()), int((self._setpoint_w > 0).sum())

    @property
    def told(self) -> tuple[int, int]:
        """Return how many sites were sent a command, and how many of them were last told to stop."""
        return int((self._last_told != 0).sum()), int((self._last_told == _RELEASED).sum())


def _by_reason(revision: PlanRevision) -> dict[str, int]:
    counts = np.bincount(revision.reason_code, minlength=len(REASONS)).tolist()
    return {reason.value: count for reason, count in zip(REASONS, counts, strict=True) if count}


def _grown(known: IntColumn, sites: int) -> IntColumn:
    missing = sites - len(known)
    return np.append(known, np.zeros(missing, dtype=np.int64)) if missing > 0 else known

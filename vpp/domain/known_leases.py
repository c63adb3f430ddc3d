"""What a store knows of the commands homes hold, beside what ticks told: answers, silence, doubts.

Kept as differences: a tick stores what changed since it was stored last, so that years later the same tick
can be made again. What a command said is never kept here: it follows from the tick that told it.
"""

from dataclasses import dataclass

import numpy as np

from vpp.domain.lease import Leases
from vpp.domain.quantities import BoolColumn, IntColumn

_HEARD = ("sequence", "issued_at_s", "running_until_s", "standing", "resends")
_TOLD = (
    "issued_at_s", "expires_at_s", "event_ends_at_s", "setpoint_w", "floor_permille", "event_no",
)  # fmt: skip
_BEHIND, _LOST = 1, 2


@dataclass(frozen=True, slots=True)
class LeaseNews:
    """What changed of some sites' leases without a tick; columns of equal length, named as in ``Leases``.

    ``site_no`` is sorted and has no site twice. ``sequence`` is the newest tick known to have told the site,
    zero for none. ``flags`` adds 1 for behind and 2 for lost: silent, and not renewed.
    """

    site_no: IntColumn
    sequence: IntColumn
    issued_at_s: IntColumn
    running_until_s: IntColumn
    standing: IntColumn
    resends: IntColumn
    flags: IntColumn

    def __len__(self) -> int:
        return len(self.site_no)


class KnownLeases:
    """The leases of all sites as stored ticks and the news stored with them tell of them.

    ``lost`` marks the silent sites that are not renewed. Of ``leases`` only the columns count that decide
    who is told something.
    """

    def __init__(self, sites: int = 0) -> None:
        self.leases = Leases(sites)
        self.lost: BoolColumn = np.zeros(sites, dtype=np.bool_)

    def grow(self, sites: int) -> None:
        """Make room for newly enrolled sites."""
        self.leases.grow(sites)
        self.lost = np.append(self.lost, np.zeros(max(0, sites - len(self.lost)), dtype=np.bool_))

    def news(self, leases: Leases, lost: BoolColumn, now_s: int) -> LeaseNews:
        """Return what differs from what is known here, of sites where it can still decide anything."""
        differs = leases.behind != self.leases.behind
        differs |= lost != self.lost
        for name in _HEARD:
            differs |= getattr(leases, name) != getattr(self.leases, name)
        differs &= _matters(leases, lost, now_s) | _matters(self.leases, self.lost, now_s)
        rows = np.flatnonzero(differs)
        columns = {name: getattr(leases, name)[rows].astype(np.int64) for name in _HEARD}
        flags = _BEHIND * leases.behind[rows].astype(np.int64) + _LOST * lost[rows]
        return LeaseNews(site_no=rows, flags=flags, **columns)

    def take_in(self, news: LeaseNews, told: Leases) -> None:
        """Write news; what the newest commands of their sites said is taken from ``told``."""
        rows = news.site_no
        copy_told(self.leases, told, rows)
        for name in _HEARD:
            getattr(self.leases, name)[rows] = getattr(news, name)
        self.leases.behind[rows] = news.flags & _BEHIND > 0
        self.lost[rows] = news.flags & _LOST > 0


def copy_told(leases: Leases, told: Leases, sites: IntColumn) -> None:
    """Write what the newest commands of these sites said, and when, as other leases have it."""
    for name in _TOLD:
        getattr(leases, name)[sites] = getattr(told, name)[sites]


def _matters(leases: Leases, lost: BoolColumn, now_s: int) -> BoolColumn:
    """Return the sites whose lease may run or that need a word: of the others no command depends on it."""
    matters: BoolColumn = leases.discharging(now_s)
    matters |= leases.running_until_s > now_s
    matters |= leases.behind
    matters |= lost
    return matters

"""How well the homes' links are, as noticed since the start: answers, clocks, and gaps in meter evidence.

Only people look at it; nothing is decided by it, and a restart begins anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vpp.domain.command import AckBatch
from vpp.domain.delivery import MeterMessage
from vpp.domain.fleet import TelemetryBatch
from vpp.domain.lease import Leases
from vpp.domain.quantities import IntColumn

ANSWERS_KEPT = 10_000
MISSING_MOST = 1_000
"""So many missing readings of one home are remembered; beyond them the oldest are forgotten."""
NOT_HEARD = -(2**31)


def _no_numbers() -> IntColumn:
    return np.zeros(0, dtype=np.int64)


@dataclass(slots=True)
class _Track:
    """One home's readings of one boot: what comes next, and what was passed over."""

    boot_id: str
    next_index: int
    missing: set[int] = field(default_factory=set)


@dataclass(slots=True)
class LinkHealth:
    """What was noticed of every home's link.

    ``answer_s`` is the time from a command to its acknowledgement as it came here, of the last
    ``ANSWERS_KEPT``. ``ahead_s`` tells by ``site_no`` how far the newest sample's clock was ahead of ours
    when it came (behind is negative, and the way is in it); ``NOT_HEARD`` before the first.
    """

    answer_s: IntColumn = field(default_factory=_no_numbers)
    ahead_s: IntColumn = field(default_factory=_no_numbers)
    _tracks: dict[str, _Track] = field(default_factory=dict)

    def note_answers(self, acks: AckBatch, leases: Leases, epoch: int, now_s: int) -> None:
        """Notice how long the newest commands waited for their first answer; call before they are heard."""
        if not len(acks):
            return
        known = acks.site_no < len(leases)
        rows = acks.site_no[known]
        first = (acks.epoch[known] == epoch) & (acks.sequence[known] == leases.sequence[rows])
        first &= leases.acked_sequence[rows] != leases.sequence[rows]
        waited_s = now_s - leases.issued_at_s[rows[first]]
        self.answer_s = np.concatenate((self.answer_s, waited_s))[-ANSWERS_KEPT:]

    def note_clocks(self, samples: TelemetryBatch, now_s: int) -> None:
        """Notice by which clock each home wrote its newest sample; also one that is refused for it."""
        if not len(samples):
            return
        missing = int(samples.site_no.max()) + 1 - len(self.ahead_s)
        if missing > 0:
            self.ahead_s = np.concatenate((self.ahead_s, np.full(missing, NOT_HEARD, dtype=np.int64)))
        self.ahead_s[samples.site_no] = NOT_HEARD
        np.maximum.at(self.ahead_s, samples.site_no, samples.at_s - now_s)

    def note_readings(self, messages: Sequence[MeterMessage]) -> None:
        """Notice which readings of a boot were passed over, until they come after all."""
        for message in messages:
            indices = [reading.index for reading in message.readings]
            track = self._tracks.get(message.site_id)
            if track is None or track.boot_id != message.boot_id:
                track = self._tracks[message.site_id] = _Track(message.boot_id, min(indices))
            if max(indices) >= track.next_index:
                skipped = range(max(track.next_index, max(indices) - MISSING_MOST), max(indices))
                track.missing.update(skipped)
                track.next_index = max(indices) + 1
            # What the home no longer holds cannot come any more: it is evidence lost, not a gap to be filled.
            track.missing = {
                index for index in track.missing.difference(indices) if index >= message.oldest_index
            }

    def gaps(self) -> dict[str, int]:
        """Return how many readings each home still owes; homes that owe none are absent."""
        return {site_id: len(track.missing) for site_id, track in self._tracks.items() if track.missing}

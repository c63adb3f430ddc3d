"""Whose readings of a site count at a time: one source per site, and none that another contradicts.

A gateway's readings come in boots; imported ones are a boot of their own. Which readings of a boot do not
count follows from when the site's boots begin and end, so it is the same in whatever order they came.
Where readings are kept is not known here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from vpp.domain.delivery import MeterReading, ReadingFault
from vpp.domain.interval import to_epoch

IMPORT_BOOT = "import"
"""Stands for the boot of readings that no gateway sent; their index is the reading's time in seconds."""

CLOCK_ERROR_S = 30
"""A gateway that starts again may have its clock set right; boots may seem to overlap by so much."""

BESIDE_OTHERS = (ReadingFault.TWO_GATEWAYS, ReadingFault.BESIDE_THE_GATEWAY)
"""Why readings do not count beside those of another boot."""

_WITHOUT_A_TIME = (ReadingFault.IN_THE_FUTURE, ReadingFault.BEFORE_CONSENT)
"""Why a reading says nothing of when its boot spoke: a wrong clock would contest every boot after it."""


@dataclass(frozen=True, slots=True)
class BootSpan:
    """The times of a boot's first and last reading, in seconds since 1970."""

    first_s: int
    last_s: int


@dataclass(frozen=True, slots=True, order=True)
class Contested:
    """A stretch of a boot, both ends included, in which its readings do not count.

    Imported readings are then left out, as if nobody had told them; a gateway's are BAD.
    """

    boot_id: str
    from_s: int
    until_s: int

    @property
    def reason(self) -> ReadingFault:
        """Why they do not count."""
        if self.boot_id == IMPORT_BOOT:
            return ReadingFault.BESIDE_THE_GATEWAY
        return ReadingFault.TWO_GATEWAYS

    def covers(self, boot_id: str, at_s: int) -> bool:
        """Return whether a boot's reading of that second lies inside."""
        return self.boot_id == boot_id and self.from_s <= at_s <= self.until_s


def spans_of(
    readings: Iterable[MeterReading], known: Mapping[str, BootSpan | None] | None = None
) -> dict[str, BootSpan]:
    """Return the spans of the boots of one site's readings, wider than those ``known`` of before."""
    spans: dict[str, BootSpan] = {}
    for reading in readings:
        if reading.reason in _WITHOUT_A_TIME:
            continue
        at_s = to_epoch(reading.at)
        span = spans.get(reading.boot_id) or (known or {}).get(reading.boot_id) or BootSpan(at_s, at_s)
        spans[reading.boot_id] = BootSpan(min(span.first_s, at_s), max(span.last_s, at_s))
    return spans


def contest(boot_id: str, span: BootSpan, other_id: str, other: BootSpan) -> tuple[Contested, ...]:
    """Return where two boots of one site cannot both count.

    Imported readings end where the site's gateway begins to speak: two meters of one battery differ, and
    the step from one to the other would be energy.

    Of a gateway's boots the older is silent when the newer begins: what it sends afterwards is a drained
    buffer, older than the newer one's first reading. Boots that speak at the same times, by more than a
    clock's error, are two gateways with one key. Which of them is the home's cannot be told, so neither
    counts while both speak. Spans only grow, and so does what they contest: it is the same in any order.
    """
    if other_id == IMPORT_BOOT:
        boot_id, span, other_id, other = other_id, other, boot_id, span
    if boot_id == IMPORT_BOOT and span.last_s >= other.first_s:
        return (Contested(IMPORT_BOOT, other.first_s, span.last_s),)
    both_spoke_s = min(span.last_s - other.first_s, other.last_s - span.first_s)
    if boot_id == IMPORT_BOOT or both_spoke_s <= CLOCK_ERROR_S:
        return ()
    from_s, until_s = max(span.first_s, other.first_s), min(span.last_s, other.last_s)
    return Contested(boot_id, from_s, until_s), Contested(other_id, from_s, until_s)


def contests(spans: Mapping[str, BootSpan]) -> tuple[Contested, ...]:
    """Return where boots of one site do not count, of all pairs of them."""
    pairs = combinations(sorted(spans), 2)
    return tuple(each for one, other in pairs for each in contest(one, spans[one], other, spans[other]))


def newly_contested(before: Sequence[Contested], now: Sequence[Contested]) -> list[Contested]:
    """Return what two boots contest now and did not before: spans only grow, and so does this."""
    known = {each.boot_id: each for each in before}
    found = []
    for each in now:
        old = known.get(each.boot_id)
        if old is None:
            found.append(each)
            continue
        if each.from_s < old.from_s:
            found.append(Contested(each.boot_id, each.from_s, old.from_s))
        if each.until_s > old.until_s:
            found.append(Contested(each.boot_id, old.until_s, each.until_s))
    return found

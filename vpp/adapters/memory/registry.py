"""Enrolments, reserves, opt-outs and grid sources, kept in memory."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from datetime import datetime
from itertools import islice

from vpp.domain.enrollment import Enrollment, EnrollmentRequest, OptOut, ReserveChange, Withdrawal
from vpp.domain.grid_event import GridSource
from vpp.domain.quantities import Permille
from vpp.ports import ConflictingFact, NotEnrolled


class MemoryRegistry:
    """The registry's part of the memory store."""

    def __init__(self) -> None:
        self._enrollments: dict[str, Enrollment] = {}  # in the order of site numbers
        self._reserve_changes: list[ReserveChange] = []
        self._reserves_at_first: dict[str, Permille] = {}
        self._opt_outs: list[OptOut] = []
        self._sources: dict[str, GridSource] = {}

    async def enroll(self, requests: Sequence[EnrollmentRequest], *, at: datetime) -> Sequence[Enrollment]:
        """Append all or none; numbers continue from the highest. A known site raises ConflictingFact."""
        taken = set(self._enrollments)
        for request in requests:
            if request.site_id in taken:
                raise ConflictingFact(f"site {request.site_id} is enrolled already; nothing was stored")
            taken.add(request.site_id)
        first = len(self._enrollments)
        enrolled = [
            Enrollment(
                site_no=first + place,
                enrolled_at=at,
                **{each.name: getattr(request, each.name) for each in fields(request)},
            )
            for place, request in enumerate(requests)
        ]
        self._enrollments.update({each.site_id: each for each in enrolled})
        self._reserves_at_first.update({each.site_id: each.reserve_permille for each in enrolled})
        return enrolled

    async def enrollments(
        self, *, from_site_no: int = 0, owner_ids: Sequence[str] | None = None, limit: int | None = None
    ) -> Sequence[Enrollment]:
        """Return enrolments by ``site_no``, with reserve changes applied; with owners, those of these."""
        found = (
            each
            for each in self._enrollments.values()
            if each.site_no >= from_site_no and (owner_ids is None or each.owner_id in owner_ids)
        )
        return list(islice(found, limit))

    async def enrolled_programs(self) -> frozenset[str]:
        """Return the programs of all enrolments, those that ended included."""
        return frozenset(each.program_id for each in self._enrollments.values())

    async def enrollment(self, site_id: str, *, at: datetime | None = None) -> Enrollment | None:
        """Return one site's enrolment with its newest reserve, or that of an instant; None for an unknown."""
        known = self._enrollments.get(site_id)
        if known is None or at is None:
            return known
        then = self._reserves_at_first[site_id]
        for change in self._reserve_changes:
            if change.site_id == site_id and change.changed_at <= at:
                then = change.reserve_permille
        return replace(known, reserve_permille=then)

    async def change_reserve(self, change: ReserveChange) -> None:
        """Append a new VPP reserve."""
        self._require_enrolled([change.site_id])
        self._reserve_changes.append(change)
        known = self._enrollments[change.site_id]
        self._enrollments[change.site_id] = replace(known, reserve_permille=change.reserve_permille)

    async def withdraw(self, withdrawal: Withdrawal) -> bool:
        """End a site's consent and enrolment; False when they ended before. Its reserve becomes 100 %."""
        self._require_enrolled([withdrawal.site_id])
        if self._enrollments[withdrawal.site_id].withdrawn_at is not None:
            return False
        at, site_id = withdrawal.withdrawn_at, withdrawal.site_id
        await self.change_reserve(ReserveChange(site_id, Permille(1000), at, withdrawal.actor))
        self._enrollments[site_id] = replace(self._enrollments[site_id], withdrawn_at=at)
        return True

    async def opt_out(self, opt_out: OptOut) -> None:
        """Append an owner's no, ours or one heard at home; of each kind the first stands until taken back."""
        self._require_enrolled([opt_out.site_id])
        if self._standing(opt_out.site_id, opt_out.event_id, at_home=opt_out.said_at_home) is None:
            self._opt_outs.append(opt_out)

    async def take_back_opt_out(
        self, site_id: str, event_id: str, *, at: datetime, heard_at_home: bool = False
    ) -> bool:
        """End a standing opt-out of ours, or one heard at home; False when there is none of that kind."""
        place = self._standing(site_id, event_id, at_home=heard_at_home)
        if place is None:
            return False
        self._opt_outs[place] = replace(self._opt_outs[place], taken_back_at=at)
        return True

    async def opt_outs(self, event_ids: Sequence[str]) -> Sequence[OptOut]:
        """Return every opt-out of the events, taken back or not, in the order they were stored."""
        wanted = set(event_ids)
        return [each for each in self._opt_outs if each.event_id in wanted]

    async def last_words(self) -> tuple[int, int]:
        """Return the numbers of the newest opt-out and the newest reserve change, zero before any."""
        return len(self._opt_outs), len(self._reserve_changes)

    def words_since(self, words: tuple[int, int]) -> list[tuple[int, str | None]]:
        """Return site and event of later opt-outs that stand, and site and None of later reserve changes."""
        opt_outs, reserve_changes = words
        refused: list[tuple[int, str | None]] = [
            (self._enrollments[each.site_id].site_no, each.event_id)
            for each in self._opt_outs[opt_outs:]
            if each.taken_back_at is None
        ]
        changed = [
            (self._enrollments[each.site_id].site_no, None)
            for each in self._reserve_changes[reserve_changes:]
        ]
        return refused + changed

    async def add_source(self, source: GridSource) -> None:
        """Add a source or replace the one of that name."""
        self._sources[source.name] = source

    async def sources(self) -> Sequence[GridSource]:
        """Return every source by name."""
        return [self._sources[name] for name in sorted(self._sources)]

    def _standing(self, site_id: str, event_id: str, *, at_home: bool) -> int | None:
        for place, each in enumerate(self._opt_outs):
            same = (each.site_id, each.event_id, each.said_at_home) == (site_id, event_id, at_home)
            if same and each.taken_back_at is None:
                return place
        return None

    def _require_enrolled(self, site_ids: Iterable[str]) -> None:
        for site_id in site_ids:
            if site_id not in self._enrollments:
                raise NotEnrolled(f"site {site_id} is not enrolled; nothing was stored")

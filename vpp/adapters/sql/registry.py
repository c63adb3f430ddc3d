"""Enrolments, reserves, opt-outs and grid sources in the database."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from vpp.adapters.sql.bulk import Asked, insert_new
from vpp.adapters.sql.engine import Database, from_us, maybe_from_us, maybe_us, to_us
from vpp.adapters.sql.notice_tables import ConsentWithdrawalRow
from vpp.adapters.sql.tables import (
    ConsentRow,
    EnrollmentRow,
    GridSourceRow,
    OptOutRow,
    ReserveChangeRow,
    table_of,
)
from vpp.domain.enrollment import Consent, Enrollment, EnrollmentRequest, OptOut, ReserveChange, Withdrawal
from vpp.domain.grid_event import GridSource, LimitRaise
from vpp.domain.quantities import Permille, Watts
from vpp.ports import ConflictingFact, NotEnrolled

_NAMED_MOST = 1_000  # owners named in a statement: a database takes some ten thousand values at most


class SqlRegistry:
    """The registry's part of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known_sites: set[str] = set()  # an enrolment is never deleted, so what was seen stays true

    async def enroll(self, requests: Sequence[EnrollmentRequest], *, at: datetime) -> Sequence[Enrollment]:
        """Append all or none; numbers continue from the highest. A known site raises ConflictingFact."""
        if not requests:
            return []
        async with self._database.write() as session:
            known = await _enrolled(session, [each.site_id for each in requests])
            for request in requests:
                if request.site_id in known:
                    raise ConflictingFact(f"site {request.site_id} is enrolled already; nothing was stored")
                known.add(request.site_id)
            highest = (await session.exec(select(func.max(EnrollmentRow.site_no)))).one()
            first = 0 if highest is None else highest + 1
            enrolled = [_enrollment(request, first + place, at) for place, request in enumerate(requests)]
            await insert_new(session, table_of(ConsentRow), _consent_columns(enrolled))
            await insert_new(session, table_of(EnrollmentRow), _enrollment_columns(enrolled))
        return enrolled

    async def enrollments(
        self, *, from_site_no: int = 0, owner_ids: Sequence[str] | None = None, limit: int | None = None
    ) -> Sequence[Enrollment]:
        """Return enrolments by ``site_no``, with reserve changes applied; with owners, those of these."""
        which = col(EnrollmentRow.site_no) >= from_site_no
        few = owner_ids is not None and len(owner_ids) <= _NAMED_MOST
        if owner_ids is not None and few:
            which &= col(EnrollmentRow.owner_id).in_(owner_ids)
        async with self._database.read() as session:
            found = await enrollments_where(session, which, limit if few or owner_ids is None else None)
        if owner_ids is None or few:
            return found
        wanted = frozenset(owner_ids)
        return [each for each in found if each.owner_id in wanted][:limit]

    async def enrolled_programs(self) -> frozenset[str]:
        """Return the programs of all enrolments, those that ended included."""
        async with self._database.read() as session:
            return frozenset((await session.exec(select(EnrollmentRow.program_id).distinct())).all())

    async def enrollment(self, site_id: str, *, at: datetime | None = None) -> Enrollment | None:
        """Return one site's enrolment with its newest reserve, or that of an instant; None for an unknown."""
        async with self._database.read() as session:
            found = await enrollments_where(session, col(EnrollmentRow.site_id) == site_id, at=at)
        return found[0] if found else None

    async def change_reserve(self, change: ReserveChange) -> None:
        """Append a new VPP reserve. Raises NotEnrolled."""
        async with self._database.write() as session:
            await self._require_enrolled(session, [change.site_id])
            session.add(_reserve_row(change))

    async def withdraw(self, withdrawal: Withdrawal) -> bool:
        """End a site's consent and enrolment; False when they ended before. Its reserve becomes 100 %.

        Raises:
            NotEnrolled: The site has no enrolment.
        """
        site_id, at = withdrawal.site_id, withdrawal.withdrawn_at
        async with self._database.write() as session:
            await self._require_enrolled(session, [site_id])
            enrolled = (
                await session.exec(select(EnrollmentRow).where(EnrollmentRow.site_id == site_id))
            ).one()
            if enrolled.withdrawn_at_us is not None:
                return False
            enrolled.withdrawn_at_us = to_us(at)
            session.add(enrolled)
            session.add(
                ConsentWithdrawalRow(site_id=site_id, withdrawn_at_us=to_us(at), actor=withdrawal.actor)
            )
            session.add(_reserve_row(ReserveChange(site_id, Permille(1000), at, withdrawal.actor)))
            return True

    async def opt_out(self, opt_out: OptOut) -> None:
        """Append an owner's no, ours or one heard at home; of each kind the first stands until taken back.

        Raises:
            NotEnrolled: The site has no enrolment.
        """
        async with self._database.write() as session:
            await self._require_enrolled(session, [opt_out.site_id])
            at_home = opt_out.said_at_home
            if await _standing(session, opt_out.site_id, opt_out.event_id, at_home=at_home) is None:
                session.add(
                    OptOutRow(
                        site_id=opt_out.site_id,
                        event_id=opt_out.event_id,
                        opted_out_at_us=to_us(opt_out.opted_out_at),
                        origin=opt_out.origin,
                        taken_back_at_us=maybe_us(opt_out.taken_back_at),
                    )
                )

    async def take_back_opt_out(
        self, site_id: str, event_id: str, *, at: datetime, heard_at_home: bool = False
    ) -> bool:
        """End a standing opt-out of ours, or one heard at home; False when there is none of that kind."""
        async with self._database.write() as session:
            standing = await _standing(session, site_id, event_id, at_home=heard_at_home)
            if standing is None:
                return False
            standing.taken_back_at_us = to_us(at)
            session.add(standing)
            return True

    async def opt_outs(self, event_ids: Sequence[str]) -> Sequence[OptOut]:
        """Return every opt-out of the events, taken back or not, in the order they were stored."""
        wanted = (
            select(OptOutRow).where(col(OptOutRow.event_id).in_(event_ids)).order_by(col(OptOutRow.number))
        )
        async with self._database.read() as session:
            found = (await session.exec(wanted)).all()
        return [
            OptOut(
                each.site_id,
                each.event_id,
                from_us(each.opted_out_at_us),
                each.origin,
                maybe_from_us(each.taken_back_at_us),
            )
            for each in found
        ]

    async def last_words(self) -> tuple[int, int]:
        """Return the numbers of the newest opt-out and the newest reserve change, zero before any."""
        async with self._database.read() as session:
            refused = (await session.exec(select(func.max(OptOutRow.number)))).one() or 0
            changed = (await session.exec(select(func.max(ReserveChangeRow.number)))).one() or 0
        return refused, changed

    async def add_source(self, source: GridSource) -> None:
        """Add a source or replace the one of that name."""
        asked = source.raise_asked
        async with self._database.write() as session:
            await session.merge(
                GridSourceRow(
                    name=source.name,
                    public_key=source.public_key,
                    max_power_w=source.max_power_w,
                    added_at_us=to_us(source.added_at),
                    raise_to_w=None if asked is None else asked.max_power_w,
                    raise_actor=None if asked is None else asked.actor,
                    raise_asked_at_us=None if asked is None else to_us(asked.asked_at),
                    client_sha256=source.client_sha256,
                )
            )

    async def sources(self) -> Sequence[GridSource]:
        """Return every source by name."""
        async with self._database.read() as session:
            found = (await session.exec(select(GridSourceRow))).all()
        # Sorted here: databases order text by their own locale.
        return [
            GridSource(
                each.name,
                each.public_key,
                Watts(each.max_power_w),
                from_us(each.added_at_us),
                _raise_of(each),
                each.client_sha256,
            )
            for each in sorted(found, key=lambda each: each.name)
        ]

    async def _require_enrolled(self, session: AsyncSession, site_ids: Iterable[str]) -> None:
        new = sorted(set(site_ids) - self._known_sites)
        if not new:
            return
        found = await _enrolled(session, new)
        self._known_sites |= found
        for site_id in new:
            if site_id not in found:
                raise NotEnrolled(f"site {site_id} is not enrolled; nothing was stored")


async def enrollments_where(
    session: AsyncSession,
    which: ColumnElement[bool],
    limit: int | None = None,
    *,
    at: datetime | None = None,
) -> list[Enrollment]:
    """Return enrolments by number; as plain columns, because there may be a hundred thousand.

    With an instant each has the reserve that held then.
    """
    row = table_of(EnrollmentRow).c
    consent = table_of(ConsentRow).c
    change = table_of(ReserveChangeRow).c
    newest = (
        select(change.reserve_permille)
        .where(change.site_id == row.site_id, *([] if at is None else [change.changed_at_us <= to_us(at)]))
        .order_by(change.number.desc())
        .limit(1)
        .scalar_subquery()
    )
    wanted = (
        table_of(EnrollmentRow)
        .join(table_of(ConsentRow))
        .select()
        .with_only_columns(
            row.site_no, row.site_id, row.owner_id, row.program_id, row.utility, row.county, row.feeder,
            row.full_energy_wh, row.max_discharge_w, func.coalesce(newest, row.reserve_permille),
            row.gateway_public_key, consent.version, consent.given_at_us, row.enrolled_at_us,
            row.withdrawn_at_us, row.meter_accuracy_permille,
        )
        .where(which)
        .order_by(row.site_no)
        .limit(limit)
    )  # fmt: skip
    found = await (await session.connection()).execute(wanted)
    return [
        Enrollment(
            each[0], each[1], each[2], each[3], each[4], each[5], each[6], each[7], each[8], each[9],
            each[10], Consent(each[11], from_us(each[12])), from_us(each[13]), maybe_from_us(each[14]),
            each[15],
        )
        for each in found.fetchall()
    ]  # fmt: skip


async def _enrolled(session: AsyncSession, site_ids: Sequence[str]) -> set[str]:
    asked = Asked(session, {"asked": {"site_id": site_ids}})
    rows = await asked.rows("SELECT e.site_id FROM asked JOIN enrollment e ON e.site_id = asked.site_id")
    return {site_id for (site_id,) in rows}


async def _standing(session: AsyncSession, site_id: str, event_id: str, *, at_home: bool) -> OptOutRow | None:
    wanted = select(OptOutRow).where(
        OptOutRow.site_id == site_id,
        OptOutRow.event_id == event_id,
        (OptOutRow.origin == "home") if at_home else (OptOutRow.origin != "home"),
        col(OptOutRow.taken_back_at_us).is_(None),
    )
    return (await session.exec(wanted)).one_or_none()


def _reserve_row(change: ReserveChange) -> ReserveChangeRow:
    return ReserveChangeRow(
        site_id=change.site_id,
        reserve_permille=change.reserve_permille,
        changed_at_us=to_us(change.changed_at),
        actor=change.actor,
    )


def _enrollment(request: EnrollmentRequest, site_no: int, at: datetime) -> Enrollment:
    return Enrollment(
        site_no, request.site_id, request.owner_id, request.program_id, request.utility, request.county,
        request.feeder, request.full_energy_wh, request.max_discharge_w, request.reserve_permille,
        request.gateway_public_key, request.consent, at, None, request.meter_accuracy_permille,
    )  # fmt: skip


def _consent_columns(enrolled: Sequence[Enrollment]) -> dict[str, list[object]]:
    return {
        "site_id": [each.site_id for each in enrolled],
        "version": [each.consent.version for each in enrolled],
        "given_at_us": [to_us(each.consent.given_at) for each in enrolled],
    }


def _enrollment_columns(enrolled: Sequence[Enrollment]) -> dict[str, list[object]]:
    same_name = (
        "site_id", "site_no", "owner_id", "program_id", "utility", "county", "feeder", "full_energy_wh",
        "max_discharge_w", "reserve_permille", "gateway_public_key",
        "meter_accuracy_permille",
    )  # fmt: skip
    columns: dict[str, list[object]] = {
        name: [getattr(each, name) for each in enrolled] for name in same_name
    }
    columns["consent_version"] = [each.consent.version for each in enrolled]
    columns["enrolled_at_us"] = [to_us(each.enrolled_at) for each in enrolled]
    return columns


def _raise_of(row: GridSourceRow) -> LimitRaise | None:
    if row.raise_to_w is None or row.raise_actor is None or row.raise_asked_at_us is None:
        return None
    return LimitRaise(Watts(row.raise_to_w), row.raise_actor, from_us(row.raise_asked_at_us))

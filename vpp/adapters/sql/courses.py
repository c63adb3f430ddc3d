"""The power of events as it was seen, in the database."""

from collections.abc import Sequence

from sqlmodel import col, select

from vpp.adapters.sql.bulk import insert_new
from vpp.adapters.sql.engine import Database, from_us, to_us
from vpp.adapters.sql.tables import EventPowerRow, table_of
from vpp.domain.course import EventPower

_WATTS = ("asked_w", "planned_w", "measured_w", "estimated_w", "shortfall_w", "sites")


class SqlCourses:
    """The part of the store that keeps how events went."""

    def __init__(self, database: Database) -> None:
        self._course_database = database

    async def add_course(self, powers: Sequence[EventPower]) -> None:
        """Store an event's power as it was seen; the first word about a moment stays."""
        if not powers:
            return
        columns: dict[str, Sequence[object]] = {
            "event_id": [each.event_id for each in powers],
            "at_us": [to_us(each.at) for each in powers],
            **{name: [getattr(each, name) for each in powers] for name in _WATTS},
        }
        async with self._course_database.write(ordered=False) as session:
            await insert_new(session, table_of(EventPowerRow), columns)

    async def course(self, event_id: str) -> Sequence[EventPower]:
        """Return an event's power as it was seen, in order."""
        wanted = (
            select(EventPowerRow).where(EventPowerRow.event_id == event_id).order_by(col(EventPowerRow.at_us))
        )
        async with self._course_database.read() as session:
            rows = (await session.exec(wanted)).all()
        return [
            EventPower(row.event_id, from_us(row.at_us), *(getattr(row, name) for name in _WATTS))
            for row in rows
        ]

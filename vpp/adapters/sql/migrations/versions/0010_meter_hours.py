"""Energy by the clock hour, computed once from the readings that are there already."""

import sqlalchemy as sa
from alembic import op

from vpp.domain.delivery import NOT_METERED, QUALITY_CODES, Quality, ReadingColumns, counter_track, net_energy
from vpp.domain.metered_hours import HOUR_S, NewReadings, hours_changed
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import column, flags

revision = "0010"
down_revision = "0006"
branch_labels = None
depends_on = None

_READINGS = f"""
SELECT r.site_id, r.at_s, r.discharged_wh, r.charged_wh, COALESCE(r.imported_wh, {NOT_METERED}),
 COALESCE(r.exported_wh, {NOT_METERED}), CASE WHEN EXISTS (SELECT 1 FROM doubted_reading d
 WHERE d.site_id = r.site_id AND d.boot_id = r.boot_id AND d.reading_index = r.reading_index)
 THEN 3 ELSE r.quality END FROM meter_reading r WHERE r.site_id = :site_id
UNION ALL SELECT site_id, at_s, discharged_wh, charged_wh, COALESCE(imported_wh, {NOT_METERED}),
 COALESCE(exported_wh, {NOT_METERED}), 3 FROM doubted_reading WHERE site_id = :site_id
ORDER BY 1, 2
"""


def upgrade() -> None:
    op.create_table(
        "meter_hour",
        sa.Column("site_id", sa.String(), sa.ForeignKey("enrollment.site_id"), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)
            for name in ("hour_s", "device_wh", "device_quality", "grid_wh", "grid_quality")
        ),
        sa.PrimaryKeyConstraint("site_id", "hour_s"),
        sqlite_with_rowid=False,
    )
    fill(op.get_bind())


def fill(connection: sa.Connection) -> None:
    """Compute the hours of every site from its readings."""
    for (site_id,) in connection.execute(sa.text("SELECT DISTINCT site_id FROM meter_boot")).all():
        _fill(connection, site_id)


def _fill(connection: sa.Connection, site_id: str) -> None:
    rows = connection.execute(sa.text(_READINGS), {"site_id": site_id}).all()
    if not rows:
        return
    nobody, at_s, discharged, charged, imported, exported, quality = (
        column(each) if place else column([0] * len(rows))
        for place, each in enumerate(zip(*rows, strict=True))
    )
    readings = ReadingColumns(nobody, at_s, discharged, charged, imported, exported, quality)
    every = NewReadings(nobody, at_s, flags([True] * len(rows)))
    hours = hours_changed(every, column([-1]), flags([False]))
    values = []
    for meter in (MeterOfRecord.DEVICE, MeterOfRecord.SITE):
        track = counter_track(readings, meter)
        values += list(net_energy(track, hours.site, hours.start_s, hours.start_s + HOUR_S))
    names = ("device_wh", "device_quality", "grid_wh", "grid_quality")
    missing = QUALITY_CODES.index(Quality.MISSING)
    written = [
        {"site_id": site_id, "hour_s": hour_s, **dict(zip(names, each, strict=True))}
        for hour_s, *each in zip(hours.start_s.tolist(), *(each.tolist() for each in values), strict=True)
        if (each[1], each[3]) != (missing, missing)
    ]
    if written:
        columns = ("site_id", "hour_s", *names)
        places = ", ".join(f":{name}" for name in columns)
        connection.execute(
            sa.text(f"INSERT INTO meter_hour ({', '.join(columns)}) VALUES ({places})"), written
        )

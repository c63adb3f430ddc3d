"""When each boot of a gateway spoke, and where its readings do not count beside another's.

Readings that are there keep the quality they were given; what they contest is known from the next on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0030"
branch_labels = None
depends_on = None

_WITHOUT_A_TIME = "('in_the_future', 'before_consent')"


def upgrade() -> None:
    for name, choice in (("first_s", "MIN"), ("last_s", "MAX")):
        op.add_column("meter_boot", sa.Column(name, sa.BigInteger(), nullable=True))
        op.execute(
            f"UPDATE meter_boot SET {name} = (SELECT {choice}(r.at_s) FROM meter_reading r"
            " WHERE r.site_id = meter_boot.site_id AND r.boot_id = meter_boot.boot_id"
            f" AND COALESCE(r.reason, '') NOT IN {_WITHOUT_A_TIME})"
        )
    op.create_table(
        "contested_span",
        sa.Column("site_id", sa.String(), sa.ForeignKey("enrollment.site_id"), nullable=False),
        sa.Column("boot_id", sa.String(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)
            for name in ("from_s", "until_s")
        ),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("received_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "boot_id", "from_s", "until_s"),
        sqlite_with_rowid=False,
    )

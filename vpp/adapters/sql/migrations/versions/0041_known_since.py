"""When readings and excluded days came: a closed event counts nothing that came after its close.

Of hours that are there nobody knows any more when the readings came that they were computed for, so a
settlement that has to know reads these. Days that are excluded already always were.
"""

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "excluded_day", sa.Column("excluded_at_us", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.add_column(
        "meter_hour",
        sa.Column("received_at_us", sa.BigInteger(), nullable=False, server_default=str(2**62)),
    )

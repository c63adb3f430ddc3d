"""When the readings came that an hour was last computed for: a closed event counts none that came later.

Of hours that are there nobody knows it any more: a settlement that has to know reads their readings.
"""

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "meter_hour",
        sa.Column("received_at_us", sa.BigInteger(), nullable=False, server_default=str(2**62)),
    )

"""How far the meter that a home is paid by may be off, by its class; nobody had said it before."""

import sqlalchemy as sa
from alembic import op

revision = "0062"
down_revision = "0061"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("enrollment", sa.Column("meter_accuracy_permille", sa.BigInteger()))

"""The lead is a lease: who holds it, and until when on the database's clock."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("leader", sa.Column("holder", sa.String(), nullable=False, server_default=""))
    op.add_column("leader", sa.Column("lead_until_us", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("leader", "lead_until_us")
    op.drop_column("leader", "holder")

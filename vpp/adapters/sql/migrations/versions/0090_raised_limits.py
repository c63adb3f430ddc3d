"""A source's higher limit as one person asked for it, until a second one approves."""

import sqlalchemy as sa
from alembic import op

revision = "0090"
down_revision = "0080"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("grid_source", sa.Column("raise_to_w", sa.BigInteger(), nullable=True))
    op.add_column("grid_source", sa.Column("raise_actor", sa.String(), nullable=True))
    op.add_column("grid_source", sa.Column("raise_asked_at_us", sa.BigInteger(), nullable=True))

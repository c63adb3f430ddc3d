"""What of an event a settlement run is about, so that its hours are known though nobody stayed to the end."""

import sqlalchemy as sa
from alembic import op

revision = "0100"
down_revision = "0091"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("settlement_run", sa.Column("parts", sa.String(), nullable=False, server_default="[]"))

"""What a settlement run comes to, and what tells two runs apart, beside its hundred thousand lines."""

import sqlalchemy as sa
from alembic import op

revision = "0110"
down_revision = "0100"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("totals", "lines_sha256"):
        op.add_column("settlement_run", sa.Column(name, sa.String(), nullable=False, server_default=""))

"""What an owner calls each home, kept where the owner's other choices are."""

import sqlalchemy as sa
from alembic import op

revision = "0113"
down_revision = "0112"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("contact", sa.Column("home_names", sa.String(), nullable=False, server_default="{}"))

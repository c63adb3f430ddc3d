"""What was told about an event is read whenever it changes: to whom the change is news."""

from alembic import op

revision = "0070"
down_revision = "0062"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_notice_subject", "notice", ["subject"])

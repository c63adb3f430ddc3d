"""Payouts by owner, and their ends by time: to find them among all that was ever booked."""

import sqlalchemy as sa
from alembic import op

revision = "0111"
down_revision = "0110"
branch_labels = None
depends_on = None


def upgrade() -> None:
    where = sa.text("account = 'paid_out'")
    op.create_index(
        "ix_posting_paid_out", "posting", ["party", "entry_id"], sqlite_where=where, postgresql_where=where
    )
    ends = sa.text("substr(resolves, 1, 7) = 'payout-'")
    op.create_index(
        "ix_journal_entry_payout_ended", "journal_entry", ["at_us"], sqlite_where=ends, postgresql_where=ends
    )

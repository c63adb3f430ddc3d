"""How often each answer was given to the commands of a tick, so that a page need not count them."""

import sqlalchemy as sa
from alembic import op

revision = "0060"
down_revision = "0050"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "answer_count",
        sa.Column("event_id", sa.String(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)
            for name in ("epoch", "sequence")
        ),
        sa.Column("refusal", sa.String(), nullable=False),
        sa.Column("answers", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "epoch", "sequence", "refusal"),
        sqlite_with_rowid=False,
    )
    fill(op.get_bind())


def fill(connection: sa.Connection) -> None:
    """Count the answers that are there already."""
    connection.execute(
        sa.text(
            "INSERT INTO answer_count (event_id, epoch, sequence, refusal, answers)"
            " SELECT event_id, epoch, sequence, COALESCE(refusal, ''), count(*) FROM acknowledgement"
            " GROUP BY event_id, epoch, sequence, COALESCE(refusal, '')"
        )
    )

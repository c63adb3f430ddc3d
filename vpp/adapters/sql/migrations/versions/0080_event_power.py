"""The power of an event as people were told it while it ran; the database refuses to edit it."""

import sqlalchemy as sa
from alembic import op

revision = "0080"
down_revision = "0070"
branch_labels = None
depends_on = None

_TABLE = "event_power"


def upgrade() -> None:
    numbers = ("asked_w", "planned_w", "measured_w", "estimated_w", "shortfall_w", "sites")
    op.create_table(
        _TABLE,
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in numbers),
        sa.PrimaryKeyConstraint("event_id", "at_us"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for edit in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {_TABLE}_refuses_{edit.lower()} BEFORE {edit} ON {_TABLE}"
                f" BEGIN SELECT RAISE(ABORT, '{_TABLE} is append-only'); END"
            )
        # The first word about a moment stays; REPLACE sets off no trigger for DELETE.
        op.execute(
            f"CREATE TRIGGER {_TABLE}_refuses_replace BEFORE INSERT ON {_TABLE}"
            f" WHEN EXISTS (SELECT 1 FROM {_TABLE} WHERE event_id = NEW.event_id AND at_us = NEW.at_us)"
            " BEGIN SELECT RAISE(IGNORE); END"
        )
        return
    op.execute(
        f"CREATE TRIGGER {_TABLE}_refuses_edits BEFORE UPDATE OR DELETE OR TRUNCATE ON {_TABLE}"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_edit()"
    )

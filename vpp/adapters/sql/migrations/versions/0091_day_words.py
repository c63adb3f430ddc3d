"""What people said of days that baselines pass over, word by word, so that one can be taken back."""

import sqlalchemy as sa
from alembic import op

revision = "0091"
down_revision = "0090"
branch_labels = None
depends_on = None

_TABLE = "day_word"


def upgrade() -> None:
    op.create_table(
        _TABLE,
        sa.Column("site_id", sa.String(), nullable=False),
        sa.Column("day", sa.String(), nullable=False),
        sa.Column("said_at_us", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.PrimaryKeyConstraint("site_id", "day", "said_at_us"),
    )
    op.execute(
        f"INSERT INTO {_TABLE} (site_id, day, said_at_us, reason)"
        " SELECT site_id, day, excluded_at_us, reason FROM excluded_day"
    )
    op.drop_table("excluded_day")
    if op.get_bind().dialect.name == "sqlite":
        for edit in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {_TABLE}_refuses_{edit.lower()} BEFORE {edit} ON {_TABLE}"
                f" BEGIN SELECT RAISE(ABORT, '{_TABLE} is append-only'); END"
            )
        # The first word of a moment stays; REPLACE sets off no trigger for DELETE.
        same = "site_id = NEW.site_id AND day = NEW.day AND said_at_us = NEW.said_at_us"
        op.execute(
            f"CREATE TRIGGER {_TABLE}_refuses_replace BEFORE INSERT ON {_TABLE}"
            f" WHEN EXISTS (SELECT 1 FROM {_TABLE} WHERE {same})"
            " BEGIN SELECT RAISE(IGNORE); END"
        )
        return
    op.execute(
        f"CREATE TRIGGER {_TABLE}_refuses_edits BEFORE UPDATE OR DELETE OR TRUNCATE ON {_TABLE}"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_edit()"
    )

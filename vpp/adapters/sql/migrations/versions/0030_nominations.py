"""What programs were told to count on, month by month; the database refuses to edit it."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0021"
branch_labels = None
depends_on = None

_TABLE = "nomination"


def upgrade() -> None:
    counted = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        _TABLE,
        sa.Column("number", counted, autoincrement=True, nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("program_id", "month")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("power_w", "at_us")),
        sa.Column("actor", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for edit in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {_TABLE}_refuses_{edit.lower()} BEFORE {edit} ON {_TABLE}"
                f" BEGIN SELECT RAISE(ABORT, '{_TABLE} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE TRIGGER {_TABLE}_refuses_edits BEFORE UPDATE OR DELETE OR TRUNCATE ON {_TABLE}"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_edit()"
    )

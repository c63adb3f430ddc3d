"""What energy cost on the wholesale market, hour by hour; the database refuses to edit it."""

import sqlalchemy as sa
from alembic import op

revision = "0050"
down_revision = "0041"
branch_labels = None
depends_on = None

_TABLE = "wholesale_price"


def upgrade() -> None:
    counted = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    numbers = ("hour_starts_at_us", "micro_dollars_per_mwh", "imported_at_us")
    op.create_table(
        _TABLE,
        sa.Column("number", counted, autoincrement=True, nullable=False),
        sa.Column("program_id", sa.String(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in numbers),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index(f"ix_{_TABLE}_program_id", _TABLE, ["program_id"])
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

"""A no said at the home and one said to us stand beside each other."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("uq_opt_out_standing", "opt_out")
    for name, origin in (("uq_opt_out_at_home", "origin = 'home'"), ("uq_opt_out_to_us", "origin <> 'home'")):
        where = sa.text(f"taken_back_at_us IS NULL AND {origin}")
        op.create_index(
            name,
            "opt_out",
            ["site_id", "event_id"],
            unique=True,
            sqlite_where=where,
            postgresql_where=where,
        )

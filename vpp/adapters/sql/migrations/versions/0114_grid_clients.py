"""The secret by which a grid source speaks OpenADR over HTTP, as its SHA-256."""

import sqlalchemy as sa
from alembic import op

revision = "0114"
down_revision = "0113"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("grid_source", sa.Column("client_sha256", sa.LargeBinary(), nullable=True))
    op.create_index("ix_signal_receipt_source", "signal_receipt", ["source"])

"""Parts, and what people said of them."""

import sqlalchemy as sa
from alembic import op

from pyramidflow.line.history.schema import UtcTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "parts",
        sa.Column("id", number, primary_key=True, autoincrement=True),
        sa.Column("station", sa.Text, nullable=False),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("time", UtcTime, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text),
        sa.Column("score", sa.Double),
        sa.Column("threshold", sa.Double),
        sa.Column("detector", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("late", sa.Boolean, nullable=False),
        sa.Column("dropped", sa.Boolean, nullable=False),
        sa.Column("milliseconds", sa.Double),
        sa.Column("record", sa.JSON, nullable=False),
        sa.UniqueConstraint("station", "identity", name="one_record_for_each_part"),
        sqlite_autoincrement=True,
    )
    op.create_index("parts_by_time", "parts", ["time"])
    op.create_table(
        "marks",
        sa.Column("id", number, primary_key=True, autoincrement=True),
        sa.Column("station", sa.Text, nullable=False),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("good", sa.Boolean, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("time", UtcTime, nullable=False),
        sa.Column("note", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("marks_by_part", "marks", ["station", "identity"])


def downgrade() -> None:
    """Remove the tables, with everything in them."""
    op.drop_table("marks")
    op.drop_table("parts")

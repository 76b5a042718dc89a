"""Run by alembic: brings the database of the given connection to the wanted version."""

from alembic import context

from pyramidflow.line.history.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="history_version",
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()

"""Runs the migrations on the connection that `Ledger.upgrade` hands in. There is no other way in."""

from alembic import context

from holds_core.ledger.models import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()

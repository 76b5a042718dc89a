"""The history's tables, step by step from one version to the next (alembic)."""

"""${message}. Migrations go forward only; the way back is the backup."""

import sqlalchemy as sa
from alembic import op

import holds_core.ledger.models
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


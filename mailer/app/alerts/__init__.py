"""Mail to IT when something is wrong: found (`watch`), decided (`holds_core.alerts`), told (`post`).

Enters what the daemon and the ledger show; leaves mail to the addresses of `alerts.to`, by a second way where
the relay itself is the trouble, and a line in the log. Names no patron, no address and no title.
"""

from mailer.app.alerts.task import Alerts
from mailer.app.alerts.watch import Senses

__all__ = ["Alerts", "Senses"]

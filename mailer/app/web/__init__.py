"""The process's HTTP side: the staff's address (desk, API, health, metrics) and the patrons' page.

`app` puts the two applications together, `serve` listens. The desk's own pages are in `desk`.
"""

from mailer.app.web.app import patron_app, staff_app

__all__ = ["patron_app", "staff_app"]

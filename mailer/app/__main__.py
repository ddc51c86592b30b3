"""`python -m mailer.app` is `todoku`."""

from mailer.app.cli import main

main()

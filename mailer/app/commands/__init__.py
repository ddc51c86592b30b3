"""One module per group of commands; `mailer.app.cli` puts them together."""

"""The real servers that tests and benches start: Postfix, Dovecot, PostgreSQL, smtp-sink.

Each is a class with `start()`, `stop()` (it can be started again) and `close()` (nothing is left),
on free loopback ports, in a temporary directory of its own. `tests/conftest.py` makes them fixtures.
"""

"""Feeds that Todoku asks itself, over HTTP. What records mean is in `holds_core.feeds`; here is only the asking."""

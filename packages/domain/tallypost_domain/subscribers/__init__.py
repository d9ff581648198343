"""Plugins that are told of events: which there are, and what each is still to be told."""

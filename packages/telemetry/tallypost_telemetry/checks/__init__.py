"""Readiness checks, one module for each kind of server, so that an app loads what it needs."""

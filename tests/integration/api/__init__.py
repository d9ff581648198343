"""The public API over HTTP, on a real database."""

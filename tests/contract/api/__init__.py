"""The public API as the clients that exist for it see it."""

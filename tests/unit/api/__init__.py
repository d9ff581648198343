"""Parts of the public API that need no server."""

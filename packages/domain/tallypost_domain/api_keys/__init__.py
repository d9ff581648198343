"""Keys that programs authenticate with."""

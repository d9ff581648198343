"""Messages of test mode and of the local default."""

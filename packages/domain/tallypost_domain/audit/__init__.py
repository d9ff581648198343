"""Who did what in a tenant, in a chain that shows a missing link."""

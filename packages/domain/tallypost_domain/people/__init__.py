"""People, their memberships in tenants, and their sessions."""

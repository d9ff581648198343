"""Schema, roles, sessions and migrations; what every slice stands on."""

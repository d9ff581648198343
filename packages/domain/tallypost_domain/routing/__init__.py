"""Tenants' own provider accounts, and the routes that their mail goes by."""

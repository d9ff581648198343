"""Addresses that a tenant must not send to."""

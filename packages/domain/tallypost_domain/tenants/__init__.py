"""Customers of the platform, their data keys and their streams."""

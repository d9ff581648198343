"""Emails: accepting, reading, rescheduling, and the life of a recipient."""

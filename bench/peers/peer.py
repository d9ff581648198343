"""What all other mail systems have in common."""

from collections.abc import Callable

Send = Callable[[int], float]
"""Sends so many mails to the sink; returns mails a second between the first and last arrival.

A mail server counts while mail is still coming in, as ours does. A job queue is filled before it
starts, which spares it the cost of accepting; one that builds many mails before the first leaves
counts from its own start.
"""

"""What happened, append-only: drives timelines and, later, webhooks and analytics."""

"""The worker: delivers due emails, and runs the platform's chores."""

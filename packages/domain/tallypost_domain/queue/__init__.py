"""The send queue: claiming, marking, recording and sweeping."""

"""What stops a command, told to the person at the terminal without a traceback."""


class StartUpError(Exception):
    """Something outside the program keeps it from starting; the message says what to do."""

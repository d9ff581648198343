"""`python -m tallypost_console`: runs the console until it is told to stop."""

from tallypost_console.app import main

if __name__ == "__main__":
    main()

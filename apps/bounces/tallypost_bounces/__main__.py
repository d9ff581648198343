"""`python -m tallypost_bounces`: runs the bounces app until it is told to stop."""

from tallypost_bounces.app import main

if __name__ == "__main__":
    main()

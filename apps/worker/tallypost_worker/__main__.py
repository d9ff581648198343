"""`python -m tallypost_worker`: runs one worker process until it is told to stop."""

from tallypost_worker.app import main

if __name__ == "__main__":
    main()

"""`python -m tallypost_billing`: runs the billing app until it is told to stop."""

from tallypost_billing.app import main

if __name__ == "__main__":
    main()

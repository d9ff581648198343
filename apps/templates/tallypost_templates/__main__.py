"""`python -m tallypost_templates`: runs the templates app until it is told to stop."""

from tallypost_templates.app import main

if __name__ == "__main__":
    main()

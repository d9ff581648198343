"""`python -m tallypost_cli` is the `tallypost` command."""

from tallypost_cli.main import main

if __name__ == "__main__":
    main(prog_name="tallypost")

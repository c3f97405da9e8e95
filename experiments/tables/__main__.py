"""The command: python -m experiments.tables."""

from experiments.tables.command import main

if __name__ == "__main__":
    raise SystemExit(main())

"""``python -m mammorisk COMMAND …``."""

from mammorisk.cli.dispatch import main

if __name__ == "__main__":
    main()

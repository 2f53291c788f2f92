"""``python -m graphprune.cli`` is ``graphprune``."""

from graphprune.cli import main

if __name__ == "__main__":
    main()

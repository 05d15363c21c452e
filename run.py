"""One grid bot: the program that a supervisor runs. The composition root is `cli/bot.py`."""

import sys

from cli.bot import main

if __name__ == "__main__":
    sys.exit(main())

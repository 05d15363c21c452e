"""One grid bot: the program that a supervisor runs. The composition root is `cli/bot.py`."""

import gc

gc.disable()  # what start-up makes stays: looking through it again and again is 0.1 s; see cli.bot

import sys  # noqa: E402

from cli.bot import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())

"""``python -m tinyyolo3``: the same as the command ``tinyyolo3``."""

import sys

from tinyyolo3.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""The command line: ``tinyyolo3 detect`` and ``tinyyolo3 info``, one file per verb.

What loads NumPy, Pillow or Numba is imported inside the functions that need it, so that help,
``--version`` and usage errors answer at once.
"""

from tinyyolo3.cli.command import main

__all__ = ["main"]

"""Whether Numba may compile, and when: what the user says in ``TINYYOLO3_COMPILE``."""

import os
from typing import Literal, cast, get_args

from tinyyolo3.errors import InputError

CompilePolicy = Literal["background", "now", "never"]

#: The environment variable that names the policy.
VARIABLE = "TINYYOLO3_COMPILE"


def compile_policy() -> CompilePolicy:
    """Return the policy of this moment.

    "background", which is the default: while compiled code is missing, plain NumPy answers and
    another process compiles; "now": what is missing is compiled when it is first needed, and the
    call waits; "never": plain NumPy for good, for places where no code may be generated.

    Raises:
        InputError: the variable says something else.
    """
    found = os.environ.get(VARIABLE, "background")
    if found not in get_args(CompilePolicy):
        raise InputError(f"{VARIABLE}={found!r} is unknown; known are background, now and never")
    return cast(CompilePolicy, found)

"""Lines for standard error: ``error: ...`` and ``warning: ...``, always one line each."""

import sys
from typing import TextIO


def one_line(text: str) -> str:
    """Return `text` with everything unprintable escaped.

    A file may be called anything: a line break in its name must not look like a second message,
    nor an escape sequence reach the terminal.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def report(kind: str, text: str) -> None:
    """Print ``kind: text`` on standard error, if there is one."""
    if sys.stderr is not None:  # print() would take None for standard output
        print(f"{kind}: {one_line(text)}", file=sys.stderr, flush=True)


def show_warning(
    message: Warning | str,
    category: type[Warning],  # noqa: ARG001 (the signature is that of warnings.showwarning)
    filename: str,  # noqa: ARG001
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    """Print a Python warning as one line, without the place in the code it came from."""
    report("warning", str(message))

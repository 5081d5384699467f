"""What compilers say, in one line."""

import re

#: "kernel.cu(12): error: ..." of NVRTC, "kernel.cu:12:5: error: ..." of the others.
_ERROR = re.compile(
    r"^(?P<file>[^\n]*?)(?:\((?P<nvrtc>\d+)\)|:(?P<line>\d+)(?::\d+)?):?\s*"
    r"(?:catastrophic |fatal )?error\s*[:#]?\s*(?P<text>[^\n]*)",
    re.MULTILINE,
)


def first_error(answer: str) -> str | None:
    """Return "file:line: what is wrong" for a compiler's first error; None if there is none."""
    found = list(_ERROR.finditer(answer))
    if not found:
        return None
    first = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{first['file']}:{first['nvrtc'] or first['line']}: {first['text'].strip()}{more}"

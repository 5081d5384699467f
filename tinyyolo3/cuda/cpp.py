"""Just enough of C++ to read declarations: comments, brackets, the names of its numbers."""

import re

import numpy as np

_COMMENT_OR_STRING = re.compile(
    r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', re.DOTALL
)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
_CLOSING = {"(": ")", "<": ">", "{": "}", "[": "]"}
_SPECIFIERS = frozenset({"const", "volatile", "struct", "__restrict__", "__grid_constant__"})

#: NumPy's dtype of each of C's numbers, under its shortest name.
NUMBERS = {
    "bool": np.dtype(np.bool_),
    "char": np.dtype(np.int8),
    "signed char": np.dtype(np.int8),
    "unsigned char": np.dtype(np.uint8),
    "short": np.dtype(np.int16),
    "unsigned short": np.dtype(np.uint16),
    "int": np.dtype(np.int32),
    "unsigned": np.dtype(np.uint32),
    "long": np.dtype("l"),
    "unsigned long": np.dtype("L"),
    "long long": np.dtype(np.int64),
    "unsigned long long": np.dtype(np.uint64),
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "__half": np.dtype(np.float16),
    "half": np.dtype(np.float16),
    "int8_t": np.dtype(np.int8),
    "uint8_t": np.dtype(np.uint8),
    "int16_t": np.dtype(np.int16),
    "uint16_t": np.dtype(np.uint16),
    "int32_t": np.dtype(np.int32),
    "uint32_t": np.dtype(np.uint32),
    "int64_t": np.dtype(np.int64),
    "uint64_t": np.dtype(np.uint64),
    "size_t": np.dtype(np.uint64),
}


def strip_comments(text: str) -> str:
    """Return C++ without comments, strings' contents and preprocessor lines."""

    def blank(match: re.Match[str]) -> str:
        return match[0][0] * 2 if match[0][0] in "\"'" else " "

    return _DIRECTIVE.sub(" ", _COMMENT_OR_STRING.sub(blank, text))


def balanced(text: str, start: int) -> int:
    """Return the position after the bracket that closes the one at `start`; -1 if none does."""
    opening, closing = text[start], _CLOSING[text[start]]
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] == opening) - (text[position] == closing)
        if depth == 0:
            return position + 1
    return -1


def split_list(text: str) -> list[str]:
    """Split at the commas that stand outside all brackets."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in "(<{[") - (character in ")>}]")
        if character == "," and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    last = text[start:].strip()
    return [*parts, last] if parts or last else []


def number_name(words: list[str]) -> str:
    """Return a type's shortest name: "unsigned long long int" is "unsigned long long"."""
    words = [word for word in words if word not in _SPECIFIERS]
    if len(words) > 1 and set(words) <= {"int", "unsigned", "signed", "long", "short", "char"}:
        sign = ["unsigned"] if "unsigned" in words else []
        sign = ["signed"] if "signed" in words and "char" in words else sign
        rest = [word for word in words if word not in ("unsigned", "signed", "int")]
        words = sign + rest or ["int"]
    return " ".join(words)

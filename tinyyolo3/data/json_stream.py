"""Large JSON files, an entry at a time.

A COCO file is one object with a few long arrays. ``json.load`` makes Python objects of all of it,
ten times its size in memory. Here a window moves over the text: what is decoded, by the standard
library's own decoder, is one entry of an array.
"""

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tinyyolo3.darknet.files import PathLike, require_file, wrong_kind_of_text
from tinyyolo3.errors import DataError

#: Read at a time.
CHUNK_BYTES = 1 << 20
#: No entry of a data set comes near this; a file that is one endless string does.
MAX_ENTRY_CHARS = 1 << 24
#: How far before the end of what has been read an unfinished entry may fail to decode: the length
#: of the longest token that is no string, and then some.
_TOKEN_CHARS = 64
#: The entries in so much text are decoded together, if that can be done.
_TOGETHER_CHARS = 1 << 16
_SPACES = " \t\r\n"
_SPACE = re.compile(f"[{_SPACES}]*")
_WHOLE = "was it copied or downloaded whole?"
_DECODER = json.JSONDecoder()


def stream_members(path: PathLike, what: str) -> Iterator[tuple[str, Iterator[Any] | None]]:
    """Yield the members of the object that a JSON file is, in the file's order.

    Args:
        path: the file.
        what: what it should be, for messages: "a COCO data set".

    Yields:
        A member's name with the entries of its array, which are read while they are iterated and
        gone when the next member is asked for; with None where it is no array.

    Raises:
        DataError: the file cannot be read, is no such object, or has a member twice.
    """
    with _open_window(path, what) as window:
        if window.next_char() != "{":
            raise window.error(f"expected {what}, an object in braces, found {window.found()}")
        seen = set()
        for _ in window.items("{", "}", "the file"):
            name = window.value("a member's name")
            if not isinstance(name, str):
                raise window.error(f"expected a member's name, found {name!r:.40}")
            if name in seen:
                raise window.error(f"has {name!r:.40} for the second time")
            seen.add(name)
            window.take(":", "the file")
            if window.next_char() == "[":
                entries = window.entries(name)
                yield name, entries
                for _ in entries:  # what the caller left
                    pass
            else:
                window.value(name)
                yield name, None
        window.end()


def stream_entries(path: PathLike, what: str) -> Iterator[Any]:
    """Yield the entries of the array that a JSON file is.

    Raises:
        DataError: the file cannot be read, or is no array.
    """
    with _open_window(path, what) as window:
        if window.next_char() != "[":
            raise window.error(f"expected {what}, an array in brackets, found {window.found()}")
        yield from window.entries("entry ")
        window.end()


@contextmanager
def _open_window(path: PathLike, what: str) -> Iterator["_Window"]:
    place = require_file(path, what, DataError)
    try:
        with open(place, "rb") as file:
            disguise = wrong_kind_of_text(file.peek(512))
            if disguise:
                raise DataError(f"{place}: expected {what}, found {disguise}")
            yield _Window(file, place)
    except OSError as problem:
        raise DataError(f"{place}: cannot be read: {problem.strerror or problem}") from None


class _Window:
    """The stretch of a file's text that is being decoded."""

    def __init__(self, file: BinaryIO, place: Path) -> None:
        self._file, self._place = file, place
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._bytes_read = 0
        self._text, self._at = "", 0  # decoded and not dropped; where in it the next token begins
        self._chars_dropped = 0

    def error(self, text: str, at: int | None = None) -> DataError:
        """Return the error for a place in the window: the next token's, unless it is given."""
        position = self._chars_dropped + (self._at if at is None else at) + 1
        return DataError(f"{self._place} (character {position:,}): {text}")

    def found(self) -> str:
        """Quote what comes next."""
        return repr(self._text[self._at : self._at + 20]) if self.next_char() else "its end"

    def next_char(self) -> str:
        """Return the next character that is not white space, without passing it; "" at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            assert space is not None  # it may be empty
            self._at = space.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_more():
                return ""

    def take(self, wanted: str, inside: str) -> str:
        """Pass one of the `wanted` characters and return it."""
        char = self.next_char()
        if not char:
            raise self.error(f"the file ends inside {inside}; {_WHOLE}")
        if char not in wanted:
            expected = " or ".join(f"'{each}'" for each in wanted)
            raise self.error(f"not JSON: expected {expected} in {inside}, found {self.found()}")
        self._at += 1
        return char

    def items(self, opening: str, closing: str, inside: str) -> Iterator[int]:
        """Pass brackets and commas; between them the caller takes an item."""
        self.take(opening, inside)
        if self.next_char() == closing:
            self._at += 1
            return
        index = 0
        while True:
            yield index
            if self.take("," + closing, inside) == closing:
                return
            index += 1

    def entries(self, name: str) -> Iterator[Any]:
        """Yield the entries of an array."""
        index, together = 0, True
        for _ in self.items("[", "]", name):
            if together:
                decoded = self._whole_entries()
                yield from decoded
                index += len(decoded)
                # What fails far from the window's end would fail again.
                together = bool(decoded) or len(self._text) - self._at < _TOGETHER_CHARS
            yield self.value(f"{name}[{index}]")
            index += 1

    def _whole_entries(self) -> list[Any]:
        """Decode the next objects that are whole in the window; there may be none.

        Together they take half the time, but what is wrong only `value` can tell. The comma after
        them is passed, too.
        """
        end = max(self._text.rfind("{", self._at, self._at + _TOGETHER_CHARS), self._at)
        before = self._text[max(end - _TOKEN_CHARS, self._at) : end].rstrip(_SPACES)
        if not before.endswith(","):
            return []
        comma = self._text.rindex(",", self._at, end)
        try:
            # If this is no border between entries, but a place inside one or inside a text, then
            # brackets or quotation marks stay open, and decoding fails.
            decoded: list[Any] = json.loads(f"[{self._text[self._at : comma]}]")
        except (ValueError, RecursionError):
            return []
        if decoded:
            self._at = comma + 1
        return decoded

    def value(self, name: str) -> Any:
        """Decode one value whole, reading on until it is complete."""
        self.next_char()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as problem:
                # The decoder cannot tell what is unfinished from what is wrong; the place can.
                in_string = problem.msg.startswith("Unterminated string")
                near_end = problem.pos > len(self._text) - _TOKEN_CHARS
                if (in_string or near_end) and self._read_more():
                    continue
                if in_string or problem.pos >= len(self._text.rstrip()):
                    raise self.error(f"the file ends inside {name}; {_WHOLE}") from None
                raise self.error(f"{name} is not JSON: {problem.msg}", problem.pos) from None
            except RecursionError:
                raise self.error(f"{name} is nested too deeply") from None
            except ValueError as problem:  # an integer of thousands of digits
                raise self.error(f"{name} cannot be read: {problem}") from None
            # A number may go on in what has not been read.
            is_number = isinstance(value, int | float)
            if is_number and end > len(self._text) - _TOKEN_CHARS and self._read_more():
                continue
            self._at = end
            return value

    def end(self) -> None:
        """Refuse what follows the last bracket."""
        if self.next_char():
            raise self.error(f"not JSON: expected the file's end, found {self.found()}")

    def _read_more(self) -> bool:
        """Drop what has been passed and read on; False at the end of the file."""
        rest = self._text[self._at :]
        if len(rest) > MAX_ENTRY_CHARS:
            raise self.error(f"an entry of more than {MAX_ENTRY_CHARS:,} characters is refused")
        # At least as much again, so that a long entry is not decoded from its start too often.
        data = self._file.read(max(CHUNK_BYTES, len(rest)))
        try:
            text = self._decode(data, final=not data)
        except UnicodeDecodeError as problem:
            offset = self._bytes_read + problem.start
            byte = problem.object[problem.start]
            raise DataError(
                f"{self._place}: not UTF-8 near byte {offset:,} (0x{byte:02x})"
            ) from None
        if not data:
            return False
        self._bytes_read += len(data)
        self._chars_dropped += self._at
        self._text, self._at = rest + text, 0
        return True

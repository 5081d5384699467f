"""The ``.cfg`` file: sections of ``name=value`` options, read with their line numbers.

Darknet's parser (parser.c read_cfg, option_list.c, utils.c strip) removes *all* spaces and tabs,
starts a section at ``[``, skips lines that begin with ``#`` or ``;`` and splits the rest at the
first ``=``. Values are text until a layer asks for them as a number. Options that nobody asks for
are kept, as Darknet keeps them.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tinyyolo3.darknet.files import PathLike, read_text
from tinyyolo3.errors import ConfigError

#: Darknet's second names for sections (parser.c string_to_layer_type, parse_network_cfg).
ALIASES = {
    "network": "net",
    "conv": "convolutional",
    "max": "maxpool",
    "avg": "avgpool",
    "soft": "softmax",
    "conn": "connected",
}

#: Numbers are C ints in Darknet.
INT_MAX = 2**31 - 1


@dataclass(frozen=True)
class Option:
    """One ``name=value`` line: the value's text without white space, and its line number."""

    text: str
    line: int


@dataclass(frozen=True)
class Section:
    """One ``[kind]`` with its options, able to read them as numbers and to say where it stands."""

    source: str
    kind: str
    line: int
    options: Mapping[str, Option]

    def error(self, message: str, option: str | None = None) -> ConfigError:
        """Return the error for this section, placed at `option`'s line if it is there."""
        found = self.options.get(option) if option else None
        line = found.line if found else self.line
        return ConfigError(f"{self.source}:{line} [{_printable(self.kind)}] {message}")

    def quote(self, name: str) -> str:
        """Return an option that is there as ``name=value`` for a message, cut where it is long."""
        return _printable(f"{name}={self.options[name].text}")

    def text(self, name: str, default: str | None = None) -> str:
        """Return an option's text; without a default it must be there."""
        found = self.options.get(name)
        if found is not None:
            return found.text
        if default is None:
            raise self.error(f"has no {name}=")
        return default

    def integer(
        self, name: str, default: int | None = None, *, low: int = -INT_MAX, high: int = INT_MAX
    ) -> int:
        """Return an option as an integer within [low, high]; without a default it is required."""
        if name not in self.options and default is not None:
            return default
        return self._whole(name, self.text(name), low, high)

    def integers(self, name: str) -> tuple[int, ...]:
        """Return a required option as a comma-separated list of integers."""
        return tuple(
            self._whole(name, part, -INT_MAX, INT_MAX) for part in self.text(name).split(",")
        )

    def number(self, name: str, default: float, *, low: float, high: float) -> float:
        """Return an option as a finite number within [low, high]."""
        if name not in self.options:
            return default
        value = self._real(name, self.text(name))
        if not low <= value <= high:
            raise self.error(f"{self.quote(name)} must be from {low:g} to {high:g}", name)
        return value

    def numbers(self, name: str) -> tuple[float, ...]:
        """Return a required option as a comma-separated list of finite numbers."""
        return tuple(self._real(name, part) for part in self.text(name).split(","))

    def flag(self, name: str) -> bool:
        """Return an option that is 0 or absent as False, and any other integer as True."""
        return self.integer(name, 0) != 0

    def _whole(self, name: str, text: str, low: int, high: int) -> int:
        # DARKNET: reads numbers with atoi, which turns "abc" into 0 and "3x" into 3. Both are
        # typing errors, so here they are refused.
        if not re.fullmatch(r"[+-]?[0-9]{1,30}", text, re.ASCII):
            found = _printable(text)
            raise self.error(f"{self.quote(name)}: expected an integer, found '{found}'", name)
        value = int(text)
        if not low <= value <= high:
            raise self.error(f"{name}={text} must be from {low} to {high}", name)
        return value

    def _real(self, name: str, text: str) -> float:
        try:
            value = float(text) if text.isascii() and "_" not in text else math.nan
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            found = _printable(text)
            raise self.error(f"{self.quote(name)}: expected a number, found '{found}'", name)
        return value


@dataclass(frozen=True)
class Config:
    """A parsed cfg: the ``[net]`` section and the layers' sections in order."""

    source: str
    net: Section
    layers: tuple[Section, ...]


def read_config(path: PathLike) -> Config:
    """Read a Darknet ``.cfg`` file.

    Raises:
        ConfigError: the file cannot be read as text, or a line cannot be parsed.
    """
    return parse_config(read_text(path, "a Darknet cfg", ConfigError), str(path))


def parse_config(text: str, source: str = "<cfg>") -> Config:
    """Parse a cfg's text; `source` names it in messages.

    Raises:
        ConfigError: a line is neither section, option nor comment; an option stands before the
            first section; the first section is not ``[net]``; or there is no layer.
    """
    found: list[tuple[str, int, dict[str, Option]]] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = _strip(raw)
        if not line:
            continue
        if line.startswith("["):
            found.append((_section_kind(line, source, number), number, {}))
            continue
        name, equals, value = line.partition("=")
        if not equals or not name:
            raise ConfigError(f"{source}:{number} expected name=value, found '{_printable(raw)}'")
        if not found:
            raise ConfigError(f"{source}:{number} '{_printable(line)}' stands before any [section]")
        # DARKNET: option_find walks the list from the front, so the first of two wins.
        found[-1][2].setdefault(name, Option(value, number))
    sections = [Section(source, kind, line, options) for kind, line, options in found]
    if not sections or sections[0].kind != "net":
        what = f"[{_printable(sections[0].kind)}]" if sections else "no section at all"
        raise ConfigError(f"{source}: a cfg starts with [net] or [network], found {what}")
    if len(sections) == 1:
        raise ConfigError(f"{source}: there is no layer after [net]")
    return Config(source, sections[0], tuple(sections[1:]))


def _strip(raw: str) -> str:
    # DARKNET: strip() removes white space everywhere, so "anchors = 10, 13" reads "10,13". It
    # knows comments only at the start of a line; a trailing one is dropped here, because atoi
    # would have stopped at it too.
    return re.split(r"[#;]", "".join(raw.split()), maxsplit=1)[0]


def _section_kind(line: str, source: str, number: int) -> str:
    if not line.endswith("]") or len(line) < 3:
        raise ConfigError(f"{source}:{number} expected [section], found '{_printable(line)}'")
    kind = line[1:-1].lower()
    return ALIASES.get(kind, kind)


def _printable(text: str, limit: int = 60) -> str:
    """Return a cfg's own words for a message: cut where long, control characters escaped."""
    text = text.strip()
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return text if text.isprintable() else ascii(text)[1:-1]

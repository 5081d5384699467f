"""Name lists (``.names``: a class a line) and data files (``.data``: ``name = value`` lines)."""

from collections.abc import Mapping

from tinyyolo3.darknet.files import PathLike, read_text
from tinyyolo3.errors import ConfigError


def read_names(path: PathLike) -> tuple[str, ...]:
    """Return the class names of a ``.names`` file; line i (from 0) names class i.

    Blank lines at the end are dropped; one in the middle keeps its place, since the position is
    the class (data.c get_labels).

    Raises:
        ConfigError: the file cannot be read as text, or names nothing.
    """
    lines = [line.strip() for line in read_text(path, "a list of names", ConfigError).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ConfigError(f"{path}: expected a name a line, found only blank lines")
    return tuple(lines)


def read_data(path: PathLike) -> Mapping[str, str]:
    """Return the options of a ``.data`` file (option_list.c read_data_cfg); the first one wins.

    Raises:
        ConfigError: the file cannot be read as text, or a line is not ``name = value``.
    """
    options: dict[str, str] = {}
    text = read_text(path, "a Darknet data file", ConfigError)
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"{path}:{number} expected name=value, found {line[:60]!r}")
        options.setdefault(name.strip(), value.strip())
    return options

"""Change options of a ``.cfg`` file and leave the rest of its text as it is."""

from collections.abc import Mapping

from tinyyolo3.darknet.config import parse_config

#: Stands for [net] where sections are counted, the layers' own counting from 0.
NET = -1


def set_options(text: str, changes: Mapping[int, Mapping[str, str]], source: str = "<cfg>") -> str:
    """Return a cfg's text with options changed; one that a section lacks is added under its head.

    Args:
        text: the cfg.
        changes: by section, `NET` or a layer's index: the new values by name.
        source: names the cfg in messages.

    Raises:
        ConfigError: the text is no cfg.
        IndexError: there is no such layer.
    """
    config = parse_config(text, source)
    lines = text.split("\n")
    added: dict[int, list[str]] = {}
    for index, values in changes.items():
        section = config.net if index == NET else config.layers[index]
        for name, value in values.items():
            found = section.options.get(name)
            if found is None:
                added.setdefault(section.line, []).append(f"{name}={value}")
            else:
                lines[found.line - 1] = f"{name}={value}"
    for line in sorted(added, reverse=True):
        lines[line:line] = added[line]
    return "\n".join(lines)

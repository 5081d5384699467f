"""What the README's tables share: how figures are written, and how a table is."""

#: Where there is no figure.
NONE = "–"


def milliseconds(value: float) -> str:
    """Return three digits, which is more than repeats."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(titles: list[str], lines: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (titles, ["---"] * len(titles), *lines)]

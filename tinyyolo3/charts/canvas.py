"""What all charts share: the figure, its style, its letters, and how it becomes a file.

Colours are few: ink for what is read, grey for what orders it, one blue for what is measured and
one orange for what should be noticed (Okabe and Ito's, which colour-blind readers tell apart).
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyyolo3.atomic import output_errors, whole_file
from tinyyolo3.errors import OutputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE, PALE = "#22272e", "#6b7480", "#d4d9df", "#eef1f4"
BLUE, ORANGE = "#0072b2", "#d55e00"
#: For classes or clusters side by side: Okabe and Ito's, without the yellow that white eats, and
#: three more that keep apart from them.
HUES = (BLUE, "#e69f00", "#009e73", ORANGE, "#56b4e9", "#cc79a7", "#6a4c93", "#8a8a00", "#4d4d4d")

DOTS_PER_INCH, POINTS_PER_INCH = 150, 72
#: In points. No chart has more sizes of letters than these.
TITLE_PT, TEXT_PT, SMALL_PT = 12.0, 8.5, 7.0

#: Ships with matplotlib, so that charts look the same everywhere.
_FONT = "DejaVu Sans"
#: Where installed, these write what it cannot: Chinese, Japanese, Korean.
_FONTS_FOR_THE_REST = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Microsoft YaHei", "SimHei", "Malgun Gothic"),
    *("Yu Gothic", "PingFang SC", "Hiragino Sans GB", "Arial Unicode MS"),
)


def require_matplotlib(path: str | Path) -> None:
    """See that charts can be drawn: to be asked before the work whose result they show.

    Args:
        path: the chart's file, for the message.

    Raises:
        OutputError: matplotlib is missing or cannot be imported.
    """
    try:
        import matplotlib.backends.backend_agg  # noqa: F401
    except ModuleNotFoundError as problem:
        if problem.name != "matplotlib":
            raise _broken(path, problem) from None
        raise OutputError(
            f"{path}: a chart needs matplotlib, which is not installed: "
            "pip install 'tinyyolo3[plots]'"
        ) from None
    except ImportError as problem:  # built for another NumPy
        raise _broken(path, problem) from None


def _broken(path: str | Path, problem: ImportError) -> OutputError:
    reason = " ".join(str(problem).split())
    return OutputError(f"{path}: matplotlib is installed but cannot be imported: {reason}")


def new_figure(path: str | Path, width_inch: float, height_inch: float) -> "Figure":
    """Return an empty figure that is drawn by Agg, in memory.

    Raises:
        OutputError: there is no matplotlib to draw it.
    """
    require_matplotlib(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inch, height_inch), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write a figure as PNG, whole or not at all; the same figure gives the same bytes.

    Raises:
        OutputError: it cannot be written.
    """
    with whole_file(Path(path)) as file, output_errors(path):
        # Without metadata: matplotlib would sign it with its version.
        figure.savefig(file, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})


def write_title(figure: "Figure", title: str, subtitle: str = "") -> None:
    """Write what the chart shows above it, at the left, and under that its terms, in grey."""
    width, height = figure.get_size_inches()
    left, top = 0.2 / width, 1 - 0.2 / height
    lines = ((title, TITLE_PT, INK, "bold", 0.0), (subtitle, TEXT_PT, MUTED, "normal", 0.26))
    for line, size_pt, colour, weight, below in lines:
        content = _fit(writable(line), size_pt, weight, width - 0.4)
        figure.text(
            left,
            top - below / height,
            content,
            va="top",
            weight=weight,
            **letters(size_pt, colour),
        )


def _fit(content: str, size_pt: float, weight: str, room_inch: float) -> str:
    """Cut a text's end until there is room for it."""
    cut = content
    while cut and width_inch(cut, size_pt, weight) > room_inch:
        content = content[:-1]
        cut = f"{content}…"
    return cut


def style_axes(axes: "Axes", *, grid: str = "both") -> None:
    """Give axes the charts' look: pale lines behind the data, and none that say nothing.

    Args:
        axes: a panel.
        grid: "x", "y", "both" or "none".
    """
    axes.set_facecolor("white")
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LINE)
        spine.set_linewidth(0.8)
    axes.tick_params(
        which="both",
        color=LINE,
        labelcolor=MUTED,
        labelsize=SMALL_PT,
        labelfontfamily=_FONT,
        length=3,
        width=0.8,
    )
    axes.tick_params(which="minor", length=1.5)
    if grid != "none":
        axes.grid(visible=True, axis=grid, color=PALE, linewidth=0.8)


def name_axes(axes: "Axes", x: str = "", y: str = "") -> None:
    """Write what the axes count."""
    axes.set_xlabel(writable(x), labelpad=5, **letters(TEXT_PT, INK))
    axes.set_ylabel(writable(y), labelpad=5, **letters(TEXT_PT, INK))


def letters(size_pt: float, colour: str) -> dict[str, Any]:
    """Return the arguments by which matplotlib writes a text as it stands: ``$`` is no formula."""
    families = [_FONT, *_fonts_for_the_rest()]
    return {
        "fontsize": size_pt,
        "color": colour,
        "fontfamily": families,
        "parse_math": False,
        "usetex": False,
    }


def writable(content: str) -> str:
    """Return a text in one line, each character that no font has as a replacement character."""
    known = _known_characters()
    return "".join(
        c if ord(c) in known else "\N{REPLACEMENT CHARACTER}" for c in " ".join(content.split())
    )


@cache
def _fonts_for_the_rest() -> tuple[str, ...]:
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return tuple(name for name in _FONTS_FOR_THE_REST if name in installed)


@cache
def _known_characters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    fonts = [get_font(findfont(name)) for name in (_FONT, *_fonts_for_the_rest())]
    return frozenset().union(*(font.get_charmap() for font in fonts))


def shorten(name: str, longest: int = 24) -> str:
    """Return a class's name in at most so many characters."""
    return name if len(name) <= longest else name[: longest - 1] + "…"


def width_inch(content: str, size_pt: float, weight: str = "normal") -> float:
    """Return how wide a writable text will be."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    families = letters(size_pt, INK)["fontfamily"]
    font = FontProperties(family=families, size=size_pt, weight=weight)
    width_pt, _, _ = TextToPath().get_text_width_height_descent(content, font, ismath=False)
    return float(width_pt) / POINTS_PER_INCH

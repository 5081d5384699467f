"""Charts as PNG files: sizes of boxes, clusters of anchors, precision over recall, confusions.

Functions take arrays and a path. Matplotlib draws them, an optional extra
(``pip install 'tinyyolo3[plots]'``) that is imported when a chart is drawn and not before; its
global state (pyplot, rcParams) is neither used nor changed.
"""

from tinyyolo3.charts.anchors import draw_anchors
from tinyyolo3.charts.canvas import require_matplotlib
from tinyyolo3.charts.confusion import draw_confusion_matrix
from tinyyolo3.charts.precision_recall import draw_precision_recall
from tinyyolo3.charts.sizes import draw_box_sizes

__all__ = [
    "draw_anchors",
    "draw_box_sizes",
    "draw_confusion_matrix",
    "draw_precision_recall",
    "require_matplotlib",
]

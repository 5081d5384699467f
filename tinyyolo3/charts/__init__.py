"""Charts as PNG files: of boxes, anchors, precision and recall, confusions, a training's course.

Functions take arrays and a path. Matplotlib draws them, an optional extra
(``pip install 'tinyyolo3[plots]'``) that is imported when a chart is drawn and not before; its
global state (pyplot, rcParams) is neither used nor changed.
"""

from tinyyolo3.charts.anchors import draw_anchors
from tinyyolo3.charts.canvas import require_matplotlib
from tinyyolo3.charts.confusion import draw_confusion_matrix
from tinyyolo3.charts.precision_recall import draw_precision_recall
from tinyyolo3.charts.sizes import draw_box_sizes
from tinyyolo3.charts.training import draw_training

__all__ = [
    "draw_anchors",
    "draw_box_sizes",
    "draw_confusion_matrix",
    "draw_precision_recall",
    "draw_training",
    "require_matplotlib",
]

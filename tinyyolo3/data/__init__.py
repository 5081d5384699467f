"""Labelled data sets, read from three forms into one plain structure, and written back.

- `samples` is the structure: a `DataSet` is a lazy sequence of `Sample`s.
- `open` picks the form by what lies there: ``open_dataset(path)``.
- `darknet`, `coco` and `voc` read the forms; `json_stream` reads JSON piece by piece.
- `write` writes them: ``write_darknet``, ``write_coco``, ``write_voc``.
"""

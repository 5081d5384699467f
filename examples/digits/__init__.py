"""Handwritten digits on paper: the scenes and pages that the bundled model learns and is judged by.

`examples/train_digits.py` trains it. In the order in which they build on each other:

- `handwriting` has scikit-learn's digits and says which are trained on and which never are;
  `glyphs` makes crisp ink of their 8 × 8 pixels, `strokes` draws digits of its own with a `pen`.
- `writer` writes one digit in somebody's style, `paper`, `clutter` and `camera` are what it is
  written on, what stands beside it and how it is photographed; `scenes` puts them together.
- `pages` are drawn with a pen and templates of their own, unlike anything that is trained on.
- `sets` fixes what the model is evaluated on, `evaluate` does it, `batches` feeds the training.
"""

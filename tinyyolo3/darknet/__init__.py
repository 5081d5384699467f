"""Darknet's file formats, and nothing else: ``.cfg``, ``.weights``, ``.names`` and ``.data``."""

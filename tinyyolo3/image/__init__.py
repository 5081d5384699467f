"""Pixels in, pixels out: reading pictures, fitting them to a network, drawing what was found.

- `files` turns paths, bytes, Pillow images and arrays into RGB arrays, or says why it cannot.
- `resize` is Darknet's own letterbox and stretch, with the way back for boxes.
- `draw` paints boxes and labels.
"""

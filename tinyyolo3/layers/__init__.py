"""The layers, one file each: the formula, the plain NumPy reference, the compiled version.

Functions of arrays only: nothing here knows of networks, files or backends.
"""

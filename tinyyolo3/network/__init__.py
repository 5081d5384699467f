"""From a parsed cfg to a graph of layer specifications, and passes over it.

Nothing here computes a layer; the specifications are plain, frozen data.
"""

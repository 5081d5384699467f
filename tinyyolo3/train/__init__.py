"""Training as AlexeyAB's Darknet does it: labels, the heads' deltas, the schedule and the step.

Everything here is plain NumPy: the numbers that anything quicker is held to.
"""

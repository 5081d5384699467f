"""Training as AlexeyAB's Darknet does it, with the way back of every layer written by hand.

    from tinyyolo3.train import TrainingSettings, train

    data = tinyyolo3.open_dataset("obj.data", split="train")
    train("obj.cfg", data, "obj", settings=TrainingSettings(iterations=2000))

What is plain NumPy here defines the numbers: `training_step` is an iteration, on one page. What
trains in earnest computes the same by compiled loops (`iterate_in_place` over a `Propagation`).
"""

from tinyyolo3.train.loop import TrainingResult, train
from tinyyolo3.train.settings import TrainingSettings

__all__ = ["TrainingResult", "TrainingSettings", "train"]

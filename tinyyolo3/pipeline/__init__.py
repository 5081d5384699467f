"""The detector's path, from batches of pictures to boxes: on the CPU, or whole on a device."""

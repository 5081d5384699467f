"""Training on the CPU: forward and backward passes as programs of steps on blocked mini-batches."""

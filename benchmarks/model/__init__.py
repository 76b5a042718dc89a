"""The whole network: time, memory and precision of an inspection and of a training step."""

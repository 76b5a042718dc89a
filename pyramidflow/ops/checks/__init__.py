"""What the operations ask of their arguments, in one place for every backend.

A file for each family holds a function for each row of the table, with the row's arguments. The
public functions call it, and so does every registered operation before its kernel runs: a call of
``torch.ops.pyramidflow`` past the public functions is refused with the same sentence.
"""

from pyramidflow.ops.checks import convolution, coupling, image, pyramid

__all__ = ["convolution", "coupling", "image", "pyramid"]

"""Triton kernels, one file per operation: formulas, block sizes and the bytes that each one moves.

They import nothing but torch and triton, and nothing in them is tied to one vendor's devices.
:mod:`pyramidflow.ops` allocates and differentiates; it calls the function behind a kernel, which
launches it.
"""

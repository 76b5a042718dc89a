"""The operations that the model calls, with their checks.

Shapes, types and devices are refused here, with one sentence that ``checks`` writes; the
implementations trust them.
"""

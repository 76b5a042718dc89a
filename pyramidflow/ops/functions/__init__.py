"""The operations that the model calls, with their checks.

Shapes and types are refused here, once, with one sentence; the implementations trust them.
"""

"""Inspection on a CPU: frozen networks on the compiled kernels, whole or in tiles."""

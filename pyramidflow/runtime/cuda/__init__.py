"""Inspection on a GPU: frozen networks as CUDA graphs."""

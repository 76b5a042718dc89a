"""Inspection of whole archives: on many cores, GPUs and machines."""

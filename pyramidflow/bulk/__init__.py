"""Inspection of whole archives, and categories side by side: many cores, GPUs and machines."""

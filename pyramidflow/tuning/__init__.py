"""Choosing settings on good images alone."""

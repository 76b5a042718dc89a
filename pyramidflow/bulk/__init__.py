"""Inspection of whole archives."""

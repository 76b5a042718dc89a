"""Inference and training beside the released code and other detectors."""

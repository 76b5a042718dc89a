"""Convolutions of neighbouring pixels, with a resizing by 2 on either side."""

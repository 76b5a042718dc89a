"""Families of image formats, a file each; a new file here is a new family."""

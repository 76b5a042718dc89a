"""Folder layouts of inspection data sets, a file each; a new file here is a new layout."""

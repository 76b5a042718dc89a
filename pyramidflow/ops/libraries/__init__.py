"""The compiled libraries: how they are found, loaded and called."""

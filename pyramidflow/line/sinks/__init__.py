"""Where results go, a file for each kind of sink."""

"""Where records go, a file for each kind of sink."""

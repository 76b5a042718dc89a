"""Files: written atomically, kept from other processes, and tensors with a header."""

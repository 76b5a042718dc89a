"""What a line said, and what people said of it: the history in a database."""

"""The HTTP interface of a line under load."""

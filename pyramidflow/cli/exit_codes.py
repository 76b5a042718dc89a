"""What the program's end says to whoever started it."""

EXIT_DEFECTS_FOUND = 1
EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED = 130

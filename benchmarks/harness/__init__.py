"""What every benchmark shares: its options, its subjects, its timing and its two files."""

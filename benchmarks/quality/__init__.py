"""What a detector finds, measured on parts."""

"""PyramidFlow: full-resolution defect detection trained from good images only."""

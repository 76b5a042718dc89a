"""What is compared with what, and the evidence behind every number in the README."""

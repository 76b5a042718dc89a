"""What only a GPU can tell, and what can be told without one."""

"""What this machine is, how quiet it is, and what makes two machines the same."""

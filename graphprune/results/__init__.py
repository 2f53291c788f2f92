"""What a shrink returns, and the directory it is saved to."""

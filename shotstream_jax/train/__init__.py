"""Training: the four stages as pure steps, the loop that runs them, and what a run keeps."""

"""Whether it holds when it runs for long or is interrupted."""

"""What a stream takes of a device's memory, and what makes it fit."""

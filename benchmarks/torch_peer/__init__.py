"""The same mathematics in PyTorch's own layers, written from the specification, to be timed beside ours."""

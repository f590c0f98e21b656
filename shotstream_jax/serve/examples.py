"""Captions that a writer can begin with."""

from collections.abc import Sequence

_EXAMPLES = (
    "The frog is dancing in the meadow.",
    "The giraffe walks on the beach.",
    "In the meadow, the frog jumps.",
    "The giraffe is sleeping in the meadow.",
    "On the beach, the frog and the giraffe dance.",
)


def example_captions(words: Sequence[str]) -> list[str]:
    """Examples of which the model knows every word. words: that it knows; none if it knows all."""
    known = {word.lower() for word in words}
    examples = []
    for caption in _EXAMPLES:
        used = caption.lower().replace(".", "").replace(",", "").split()
        if not known or all(word in known for word in used):
            examples.append(caption)
    return examples

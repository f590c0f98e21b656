"""Embeddings of the prompts that were used last."""

import collections
from collections.abc import Callable
from typing import Generic, TypeVar

Kept = TypeVar("Kept")  # an embedding, or what is made of it


class RecentEmbeddings(Generic[Kept]):
    """At most so many prompts' embeddings; those that were not used for the longest time go first.

    A prompt's embedding is a function of the prompt and the text encoder, so what is kept changes
    no result. It has one user at a time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: collections.OrderedDict[str, Kept] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, prompt: str, encode: Callable[[], Kept]) -> Kept:
        """The prompt's embedding; encode: makes it if it is not kept."""
        if prompt not in self._kept:
            self._kept[prompt] = encode()
        self._kept.move_to_end(prompt)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return self._kept[prompt]

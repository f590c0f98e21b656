"""A storyboard's server: making and opening stories, and what a writer should know."""

import pathlib
import urllib.parse

from shotstream_jax.client.errors import StoryboardError
from shotstream_jax.client.story import RemoteStory
from shotstream_jax.client.values import ModelFacts, PromptFacts, model_of, taken
from shotstream_jax.client.wire import Wire, read_input
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.values import as_path, whole_number


class Storyboard:
    """A server. Every method raises StoryboardError.

    url: as its page is opened. patience: seconds for which a command, or a line that broke, is
    tried again, where that is of use; 0 for never.
    """

    def __init__(self, url: str = "http://127.0.0.1:8765", patience: float = 60.0) -> None:
        self._wire = Wire(url, patience)

    def new_story(
        self,
        global_caption: str = "",
        seed: int = 0,
        title: str = "",
        memory: str | None = None,
        key: str | None = None,
    ) -> RemoteStory:
        """Makes a story.

        global_caption: what all of it shows, as a sentence. seed: the same one with the same shots
        gives the same film. memory: the rule by which its shots remember (docs/stories.md), by
        default the server's. key: 16 to 64 random letters, digits, `-` and `_`; the same request
        with it makes no second story, also from another process.
        """
        body = {
            "global_caption": global_caption,
            "seed": whole_number(seed, "seed"),
            "title": title,
            "memory": memory,
        }
        made = self._wire.call("POST", "/api/stories", body=body, key=key)
        return self.open(made["id"], made["token"])

    def open(self, story: str, token: str) -> RemoteStory:
        """A story that is there, by its name and either of its tokens. Asks the server nothing."""
        if not story.isalnum():
            raise InputError(f"{story!r:.40} is no story's name: give its id")
        return RemoteStory(self._wire, story, token)

    def open_file(self, path: str | pathlib.Path, key: str | None = None) -> RemoteStory:
        """Makes a story of a story's file (RemoteStory.save). Raises InputError, too."""
        data = read_input(as_path(path, "the story's file"))
        made = self._wire.send("/api/stories/import", data, "application/zip", key=key)
        return self.open(made["id"], made["token"])

    def check(self, caption: str, global_caption: str = "") -> PromptFacts:
        """What there is to know about a prompt before it is made."""
        body = {"caption": caption, "global_caption": global_caption}
        return taken(PromptFacts, self._wire.call("POST", "/api/prompts/check", body=body))

    def model(self) -> ModelFacts:
        """The model, its film, its words, and the server's limits."""
        return model_of(self._wire.call("GET", "/api/model"))

    def is_ready(self) -> bool:
        """Whether the server answers, and makes a shot that is asked for now at once."""
        try:
            Wire(self._wire.url, patience=0).call("GET", "/health/ready")
        except StoryboardError:
            return False
        return True


def open_link(link: str, patience: float = 60.0) -> RemoteStory:
    """The story of a page's link, as the browser shows it or `RemoteStory.link` gives it.

    Raises InputError for another address.
    """
    parts = urllib.parse.urlsplit(link)
    story, _, token = parts.fragment.partition(".")
    if not story or not token:
        raise InputError("the link must end in #STORY.TOKEN: copy the whole of it")
    url = urllib.parse.urlunsplit(parts._replace(fragment=""))
    return Storyboard(url, patience).open(story, token)

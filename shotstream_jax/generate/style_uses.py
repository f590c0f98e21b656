"""Which adapters a shot is made with, and how strong they are when (shotstream_jax/styles)."""

from collections.abc import Iterable, Mapping, Sequence

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.asked import AnyCue, StyleCue, StyleUse
from shotstream_jax.model import Model


def styles_at_start(model: Model, strengths: Mapping[str, float]) -> tuple[StyleUse, ...]:
    """The model's adapters as a shot begins.

    strengths: that the shot asks for, by their names. Raises InputError for an adapter that the
    model has not.
    """
    _check_names(model, strengths)
    uses = []
    for style in model.styles.styles if model.styles else ():
        strength = strengths.get(style.name, style.strength)
        uses.append(StyleUse(style.name, style.checksum, strength))
    return tuple(uses)


def with_uses(model: Model, uses: Sequence[StyleUse], names: Iterable[str]) -> tuple[StyleUse, ...]:
    """A shot's adapters and those of the model that are named; new ones began at strength 0.

    Raises InputError for an adapter that the model has not, or for a name that the shot knows
    another one by.
    """
    _check_names(model, names)
    known = {use.name: use for use in uses}
    for name in names:
        assert model.styles is not None  # names were found there
        checksum = model.styles.named(name).checksum
        use = known.setdefault(name, StyleUse(name, checksum, 0.0))
        if use.checksum != checksum:
            raise InputError(
                f"the shot is made with another adapter {name} ({use.checksum}, the model's is "
                f"{checksum}): read the new one under another name (name=…)"
            )
    return tuple(known.values())


def _check_names(model: Model, names: Iterable[str]) -> None:
    for name in names:
        if model.styles is None:
            raise InputError(f"the model has no adapter {name!r:.40}: with_styles adds one")
        model.styles.named(name)


def strengths_now(uses: Sequence[StyleUse], cues: Sequence[AnyCue]) -> dict[str, float]:
    """The strengths after a shot's cues, by the adapters' checksums."""
    by_name = {use.name: use.strength for use in uses}
    for cue in cues:
        if isinstance(cue, StyleCue):
            by_name.update(cue.strengths)
    return {use.checksum: by_name[use.name] for use in uses}


def styles_that_count(uses: Sequence[StyleUse], cues: Sequence[AnyCue]) -> tuple[StyleUse, ...]:
    """The adapters without those that a shot had at strength 0 from its beginning to its end."""
    named: set[str] = set()
    for cue in cues:
        if isinstance(cue, StyleCue):
            named |= set(cue.strengths)
    return tuple(use for use in uses if use.strength or use.name in named)


class StylesAgain:
    """A shot's adapters in a model that makes it again, where they may have other names.

    at_start: the strengths that the shot began with, of all adapters of the model.
    """

    def __init__(self, model: Model, uses: Sequence[StyleUse]) -> None:
        """Raises InputError if the model lacks one of them."""
        here = {style.checksum: style.name for style in model.styles.styles} if model.styles else {}
        self._names: dict[str, str] = {}  # in the record → in the model
        self.at_start = dict.fromkeys(here.values(), 0.0)
        for use in uses:
            if use.checksum not in here:
                raise InputError(
                    f"the shot was made with the adapter {use.name} (checksum {use.checksum}), "
                    "which the model has not: add it (with_styles)"
                )
            self._names[use.name] = here[use.checksum]
            self.at_start[here[use.checksum]] = use.strength

    def named_here(self, strengths: Mapping[str, float]) -> dict[str, float]:
        """A cue's strengths, by the names that the model has."""
        return {self._names[name]: strength for name, strength in strengths.items()}

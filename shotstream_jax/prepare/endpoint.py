"""Captions by a vision-language model behind any endpoint with OpenAI's chat completions.

vLLM, SGLang and clouds have one. A clip is one request: its sheet of pictures (a row for each shot,
time from left to right), and the wish for JSON with `global_caption` and one caption a shot. What
an answer says is kept in DIR/captions/CLIP.json, with what it follows from, so that no clip is
asked for twice.
"""

import base64
import concurrent.futures
import dataclasses
import hashlib
import http.client
import json
import pathlib
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

from absl import logging

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_json
from shotstream_jax.core.progress import progress_bar
from shotstream_jax.prepare.steps import PreparedClip, clip_files
from shotstream_jax.text.prompts import Script, check_caption

FOLDER = "captions"
_VERSION = 1  # raised when other words are sent
_WORDS = """The picture shows a clip of {shots} shots of one scene, a row for each shot in order, \
time from left to right. Describe it for training a text-to-video model.
global_caption: a sentence on what all shots share: who is in them, each person, animal or thing \
with a short description that tells it from the others, where it is, and the style of the pictures.
shots: exactly {shots} texts, one for each row: what is seen, what is done, and how the camera \
looks. Call whoever returns by the same words as in global_caption.
Answer with JSON only: {{"global_caption": "…", "shots": ["…", …]}}"""
# Answers of a server that is busy, or restarting: the same request is worth another try.
_BUSY = (408, 409, 425, 429, 500, 502, 503, 504)
_LARGEST = 2**20  # bytes of an answer
_LONGEST_WAIT = 60.0  # seconds


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """Where captions are asked for.

    url: the endpoint's base, like http://localhost:8000/v1. model: as it is called there. key: sent
    as a bearer token; "" for none. at_once: requests at a time. tries: of a request. wait: seconds
    before the second try, twice as many before each further one, unless the server names others.
    timeout: seconds until an answer.
    """

    url: str
    model: str
    key: str = dataclasses.field(default="", repr=False)
    at_once: int = 4
    tries: int = 6
    wait: float = 1.0
    timeout: float = 120.0

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InputError(f"--captions {self.url} must be like http://localhost:8000/v1")
        if not self.model:
            raise InputError("--captions needs --captions-model: the model's name at the endpoint")


class _Unanswered(Exception):
    """A clip's request has no usable answer; another clip's may have one."""


def ask_captions(
    endpoint: Endpoint, out: pathlib.Path, clips: Sequence[PreparedClip]
) -> dict[str, Script]:
    """The captions of the clips, by their names; those that were not answered are named and left.

    Raises InputError if the endpoint cannot be reached, or refuses every request.
    """
    scripts = {}
    waiting = []
    for clip in clips:
        script = _kept(endpoint, out, clip)
        if script is None:
            waiting.append(clip)
        else:
            scripts[clip.name] = script
    for clip, script in _asked(endpoint, out, waiting):
        scripts[clip.name] = script
    return scripts


def _asked(
    endpoint: Endpoint, out: pathlib.Path, clips: Sequence[PreparedClip]
) -> Iterator[tuple[PreparedClip, Script]]:
    """Each clip that is answered, with its captions, some requests at a time."""
    if not clips:
        return
    (out / FOLDER).mkdir(exist_ok=True)
    with (
        concurrent.futures.ThreadPoolExecutor(endpoint.at_once) as pool,
        progress_bar(total=len(clips), unit="clip", desc="captions") as bar,
    ):
        asked = {pool.submit(_ask_and_keep, endpoint, out, clip): clip for clip in clips}
        try:
            for future in concurrent.futures.as_completed(asked):
                clip = asked[future]
                bar.update()
                try:
                    yield clip, future.result()
                except _Unanswered as error:
                    logging.warning("%s has no captions: %s", clip.name, error)
        finally:
            # After an error of the endpoint nothing further is asked.
            pool.shutdown(wait=False, cancel_futures=True)


def _ask_and_keep(endpoint: Endpoint, out: pathlib.Path, clip: PreparedClip) -> Script:
    """Asks for a clip's captions, and writes them."""
    script = _ask(endpoint, out, clip)
    content = {
        "digest": _digest(endpoint, out, clip),
        "model": endpoint.model,
        "global_caption": script.global_caption,
        "shots": list(script.shots),
    }
    write_json(_path(out, clip), content)
    return script


def _kept(endpoint: Endpoint, out: pathlib.Path, clip: PreparedClip) -> Script | None:
    """A clip's captions of an earlier time; None if there are none of these pictures and model."""
    try:
        content = json.loads(_path(out, clip).read_text("utf-8"))
        if content["digest"] != _digest(endpoint, out, clip):
            return None
        return _script(content, len(clip.shots))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _path(out: pathlib.Path, clip: PreparedClip) -> pathlib.Path:
    return out / FOLDER / f"{clip.name}.json"


def _digest(endpoint: Endpoint, out: pathlib.Path, clip: PreparedClip) -> str:
    """A checksum of what an answer follows from: words, model, pictures."""
    digest = hashlib.sha256(f"{_VERSION} {endpoint.model} {len(clip.shots)} ".encode())
    digest.update(clip_files(out, clip.name).sheet.read_bytes())
    return digest.hexdigest()[:16]


def _ask(endpoint: Endpoint, out: pathlib.Path, clip: PreparedClip) -> Script:
    """The captions of a clip. Raises _Unanswered, and InputError if no clip will be answered."""
    body = json.dumps(_request(endpoint, out, clip)).encode()
    wait = endpoint.wait
    for number in range(1, endpoint.tries + 1):
        try:
            return _script(_answer(_post(endpoint, body)), len(clip.shots))
        except urllib.error.HTTPError as error:
            reason = f"{error.code} {error.reason}"
            if error.code in (401, 403, 404):
                raise InputError(_refused(endpoint, reason)) from None
            if error.code not in _BUSY:
                raise _Unanswered(f"{reason}: {_said(error)}") from None
            wait = _seconds(error.headers.get("Retry-After"), wait)
        except TimeoutError:
            reason = f"no answer within {endpoint.timeout:g} s"
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            if number == endpoint.tries:
                raise InputError(f"--captions {endpoint.url} does not answer: {reason}") from None
        except (ValueError, TypeError, KeyError, IndexError) as error:
            # Not the JSON that was asked for: another sample may be.
            reason = f"its answer is not as asked for ({error})"
        if number < endpoint.tries:
            time.sleep(min(wait, _LONGEST_WAIT))
            wait *= 2
    raise _Unanswered(f"{reason}, {endpoint.tries} times")


def _request(endpoint: Endpoint, out: pathlib.Path, clip: PreparedClip) -> dict[str, Any]:
    """The body of a chat completion that asks for a clip's captions."""
    shots = len(clip.shots)
    sheet = base64.b64encode(clip_files(out, clip.name).sheet.read_bytes()).decode()
    texts = {"type": "array", "items": {"type": "string"}, "minItems": shots, "maxItems": shots}
    schema = {
        "type": "object",
        "properties": {"global_caption": {"type": "string"}, "shots": texts},
        "required": ["global_caption", "shots"],
        "additionalProperties": False,
    }
    content = [
        {"type": "text", "text": _WORDS.format(shots=shots)},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{sheet}"}},
    ]
    return {
        "model": endpoint.model,
        "messages": [{"role": "user", "content": content}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "captions", "strict": True, "schema": schema},
        },
    }


def _post(endpoint: Endpoint, body: bytes) -> bytes:
    """The endpoint's answer. Raises urllib's and http's errors."""
    headers = {"Content-Type": "application/json"}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    url = endpoint.url.rstrip("/") + "/chat/completions"
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request, timeout=endpoint.timeout) as answer:
        return answer.read(_LARGEST)


def _answer(answer: bytes) -> Any:
    """The JSON that a completion consists of, also if it stands in a fence of Markdown."""
    text = json.loads(answer)["choices"][0]["message"]["content"].strip()
    if text.startswith("```"):
        text = text.split("\n", 1)[1].rsplit("```", 1)[0]
    return json.loads(text)


def _script(content: Any, shots: int) -> Script:
    """Captions as an answer, or a file, has them. Raises ValueError if they are not those."""
    captions = content["shots"]
    if not isinstance(captions, list) or len(captions) != shots:
        raise ValueError(f"{shots} shots were asked for")
    try:
        checked = [check_caption(caption, "a caption") for caption in captions]
        return Script(check_caption(content["global_caption"], "global_caption"), tuple(checked))
    except InputError as error:
        raise ValueError(str(error)) from None


def _seconds(retry_after: str | None, otherwise: float) -> float:
    """What a server asks to wait; dates and anything else count as nothing."""
    try:
        return max(0.0, float(retry_after or ""))
    except ValueError:
        return otherwise


def _said(error: urllib.error.HTTPError) -> str:
    """The beginning of a refusal's own words."""
    return " ".join(error.read(300).decode(errors="replace").split())


def _refused(endpoint: Endpoint, reason: str) -> str:
    return (
        f"--captions {endpoint.url} refuses ({reason}): check the address, --captions-model "
        f"{endpoint.model} and the key in OPENAI_API_KEY"
    )

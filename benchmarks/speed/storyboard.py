"""Where does the time go from Enter to a shot's first frame on the screen?

    python -m benchmarks.speed.storyboard --prompts 40            as a program sees it
    python -m benchmarks.speed.storyboard --prompts 40 --browser  and in Chromium, by Playwright

Starts `shotstream serve` with the shipped model on this machine and writes one story, a prompt when
the shot before has been played to its end, as a person does who types. With --browser the prompt is
typed into the page, and a frame counts when the browser has shown it (requestVideoFrameCallback).
Prints a line of JSON for each way: the median and the 95th percentile in milliseconds, of the whole
and of its parts.

request: from Enter until the shot is on the server's disk. waiting: until the device begins it.
making: until its first frames are pixels. encoding: until they are a film. transport: until the
viewer has it. display: until its first frame is on the screen. The first prompt of a story, which
also makes the story and opens the player, is not counted.
"""

import pathlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.output import print_json
from benchmarks.served import Served
from shotstream_jax import cli

PARTS = ("request", "waiting", "making", "encoding", "transport", "display")
_CAPTIONS = ("The frog is dancing in the meadow.", "The frog is sleeping on the beach.")
_METRIC = 'shotstream_first_frames_part_seconds_sum{{part="{}"}}'

# In the page: when Enter was pressed, what the server says, and when frames are shown, all in
# seconds since 1970.
_WATCH = """
window.seen = { enter: 0, asked: 0, came: 0, start: Infinity, shown: 0 };
const now = () => (performance.timeOrigin + performance.now()) / 1000;
const Plain = window.WebSocket;
window.WebSocket = class extends Plain {
  constructor(url) {
    super(url);
    this.addEventListener("message", ({ data }) => {
      if (typeof data === "string") {
        const event = JSON.parse(data);
        if (event.event === "asked") seen.asked = event.at;
        return;
      }
      const length = new DataView(data).getUint32(0);
      const facts = JSON.parse(new TextDecoder().decode(data.slice(4, 4 + length)));
      const { chunk, first_frame: start, waited } = facts;
      if (chunk === 0) Object.assign(seen, { came: now(), start, waited });
    });
  }
};
addEventListener("keydown", ({ key }) => {
  if (key === "Enter") Object.assign(seen, { enter: now(), start: Infinity, shown: 0 });
}, true);
addEventListener("DOMContentLoaded", () => {
  const watch = (_, frame) => {
    if (!seen.shown && frame.mediaTime * FPS > seen.start - 0.5) seen.shown = now();
    film.requestVideoFrameCallback(watch);
  };
  film.requestVideoFrameCallback(watch);
});
"""


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.speed.storyboard", __doc__)
    p.add_argument("--prompts", type=int, default=40, metavar="N", help="(default: %(default)s)")
    p.add_argument("--browser", action="store_true", help="in Chromium too, if it is installed")
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, Served(pathlib.Path(folder)) as server:
        report("program", list(as_a_program(server, args.prompts)))
        if args.browser:
            report("browser", list(in_a_browser(server, args.prompts)))


def as_a_program(server: Served, prompts: int) -> Iterator[dict[str, float]]:
    """Seconds of each part, for each prompt."""
    story = server.new_story()
    fps = server.call("GET", "/api/model")["video"]["fps"]
    with story.live() as messages:
        for number in range(1 + prompts):
            before = parts_so_far(server)
            enter = time.time()
            shot = story.ask(_CAPTIONS[number % 2])
            seen: dict[str, Any] = {}
            for message in messages:
                if message.get("shot") != shot:
                    continue
                if message["event"] == "chunk" and message["chunk"] == 0:
                    seen["chunk"] = message
                seen[message["event"]] = seen.get(message["event"], message)
                if message["event"] == "done":
                    break
            if number:
                came = seen["chunk"]["came"]
                asked = seen["asked"]["at"]
                waited = seen["chunk"]["waited"]
                yield parts_of(server, before, enter, asked, waited, came)
            # The person watches it.
            time.sleep(seen["done"]["length"] / fps)


def in_a_browser(server: Served, prompts: int) -> Iterator[dict[str, float]]:
    """Seconds of each part, for each prompt that is typed into the page."""
    from playwright.sync_api import sync_playwright

    fps = server.call("GET", "/api/model")["video"]["fps"]
    with sync_playwright() as engines:
        chromium = shutil.which("chromium")
        browser = engines.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.add_init_script(_WATCH.replace("FPS", str(fps)))
        page.goto(server.address)
        for number in range(1 + prompts):
            before = parts_so_far(server)
            page.fill("#prompt", _CAPTIONS[number % 2])
            page.wait_for_timeout(500)  # the page has checked the prompt
            page.press("#prompt", "Enter")
            page.wait_for_function("() => seen.shown")
            # It is played to its end, and there it stands.
            page.wait_for_function(
                "() => !document.querySelector('.making') && film.currentTime > "
                "film.buffered.end(film.buffered.length - 1) - 0.2"
            )
            page.wait_for_timeout(500)
            seen = page.evaluate("() => seen")
            if number:
                times = (seen["enter"], seen["asked"], seen["waited"], seen["came"])
                parts = parts_of(server, before, *times)
                parts["display"] = seen["shown"] - seen["came"]
                parts["whole"] += parts["display"]
                yield parts
        browser.close()


def parts_so_far(server: Served) -> dict[str, float]:
    """The server's own seconds, of all first frames so far."""
    metrics = server.metrics()
    parts = {}
    for part in ("waiting", "making", "encoding"):
        parts[part] = metrics.get(_METRIC.format(part), 0.0)
    return parts


def parts_of(
    server: Served,
    before: dict[str, float],
    enter: float,
    asked: float,
    waited: float,
    came: float,
) -> dict[str, float]:
    """The seconds of a prompt's parts, and of the whole.

    before: parts_so_far before the prompt. enter, asked, came: when it was sent, was on the
    server's disk, and the first chunk was there. waited: from the second to the chunk's file.
    """
    after = parts_so_far(server)
    parts = {part: after[part] - before[part] for part in before}
    parts["request"] = asked - enter
    parts["transport"] = came - asked - waited
    parts["whole"] = came - enter
    return parts


def report(way: str, rows: list[dict[str, float]]) -> None:
    """Prints the medians and the 95th percentiles in milliseconds."""
    line = {}
    for part in ("whole", *PARTS):
        values = sorted(1000 * row[part] for row in rows if part in row)
        if values:
            high = values[min(len(values) - 1, int(0.95 * len(values)))]
            line[part] = [round(statistics.median(values), 1), round(high, 1)]
    print_json(way=way, prompts=len(rows), median_and_p95_ms=line)


if __name__ == "__main__":
    cli.run(main)

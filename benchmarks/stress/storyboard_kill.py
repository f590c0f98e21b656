"""Kill the storyboard's server again and again, and compare its stories with undisturbed ones.

    python -m benchmarks.stress.storyboard_kill --kills 20 --dir out/kill_server

Three stories are told at the same time by random commands (a seed's): shots with lengths, takes and
pins, other captions in mid-shot, cuts, cancellations. At random moments the server gets SIGKILL,
and is started again. After each start all that it had answered must be there, and every finished
shot as it was. At the end the stories are made once more by a server that nobody kills, from their
logs without what had been done: every chunk's file must be the same to the bit.

Prints a line of JSON for each kill and one at the end; exit code 1 if anything differs.
"""

import hashlib
import json
import pathlib
import random
import shutil
import sys
import threading
import time
import urllib.error
from collections.abc import Sequence
from typing import Any

from benchmarks.output import print_json
from benchmarks.served import RefusedError, Served, ServedStory
from shotstream_jax import cli

_CAPTIONS = (
    "The frog is dancing in the meadow.",
    "The frog is sleeping on the beach.",
    "The frog is jumping.",
)
_STORIES = 3
_MADE = ("done", "cancelled", "failed")


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.stress.storyboard_kill", __doc__)
    p.add_argument("--kills", type=int, default=20, metavar="N", help="(default: %(default)s)")
    p.add_argument("--dir", type=pathlib.Path, required=True, help="a new folder")
    p.add_argument(
        "--longest",
        type=float,
        default=4.0,
        metavar="S",
        help="a server that is ready lives at most this long, in seconds (default: %(default)s)",
    )
    p.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    wrong = torture(args.dir, args.kills, args.longest, args.seed)
    sys.exit(1 if wrong else 0)


def torture(folder: pathlib.Path, kills: int, longest: float, seed: int) -> list[str]:
    """Tells stories through so many kills; what was wrong, a line each."""
    chance = random.Random(seed)
    rough = folder / "rough"
    server = Served(rough)
    tellers = []
    for number in range(_STORIES):
        tellers.append(Teller(server.new_story(number), random.Random(f"{seed} {number}")))
    wrong = []
    for kill in range(kills):
        moment = chance.uniform(0.1, longest)
        tell_for(tellers, moment, server)
        making = [shot for teller in tellers for shot in teller.open_shots(rough)]
        server = Served(rough)
        for teller in tellers:
            teller.story.server = server
            wrong += teller.check()
        done = sum(len(teller.films) for teller in tellers)
        print_json(kill=kill, after_s=round(moment, 2), unmade=len(making), done=done, wrong=wrong)
    # Nobody asks for anything more: what there is, is made.
    for teller in tellers:
        teller.wait_until_made()
        wrong += teller.check()
    if server.stop():
        wrong.append("the server did not end in order")
    wrong += compare(rough, folder / "calm", tellers)
    counts = {kind: sum(teller.count(rough, kind) for teller in tellers) for kind in _KINDS}
    print_json(kills=kills, **counts, wrong=wrong)
    return wrong


_KINDS = ("asked", "told", "cut", "edited", "cancelled", "failed", "died", "done")


class Teller:
    """Who tells a story.

    story: at the server that runs now. asked: the shots whose asking was answered. films: the
    checksums of finished shots' chunks.
    """

    def __init__(self, story: ServedStory, chance: random.Random) -> None:
        self.story = story
        self.asked: list[str] = []
        self.films: dict[str, list[str]] = {}
        self._chance = chance
        self._chunk = story.server.chunk_frames()

    def tell(self, is_over: threading.Event) -> None:
        """Gives one command after another until it is over, or the server has gone."""
        while not is_over.is_set():
            try:
                self._command()
            except RefusedError:
                continue  # too late, too early, or too much: as for anyone
            except (urllib.error.URLError, OSError, ValueError):
                return  # killed
            is_over.wait(self._chance.uniform(0.0, 0.15))

    def _command(self) -> None:
        """One command by chance."""
        story = self.story.read()
        shots = list(story["shots"].values())
        unmade = [shot["id"] for shot in shots if shot["state"] not in _MADE]
        kind = self._chance.choice(["ask", "ask", "tell", "tell", "cut", "cancel", "back"])
        if kind == "ask" or not unmade:
            if len(unmade) < 4:
                self._ask(shots)
        elif kind == "tell":
            body = {
                "caption": self._chance.choice(_CAPTIONS),
                "again": self._chance.random() < 0.5,
            }
            self.story.call("PATCH", f"/shots/{unmade[0]}", body)
        elif kind == "cut":
            self.story.call("POST", f"/shots/{unmade[0]}/cut")
        elif kind == "cancel" and self._chance.random() < 0.3:
            self.story.call("DELETE", f"/shots/{self._chance.choice(unmade)}")
        elif kind == "back":
            done = [shot["id"] for shot in shots if shot["state"] == "done"]
            self.story.call("PATCH", "", {"head": self._chance.choice([None, *done])})

    def _ask(self, shots: list[dict[str, Any]]) -> None:
        """Asks for a shot, one in three with a pin."""
        done = [shot for shot in shots if shot["state"] == "done"]
        more: dict[str, Any] = {"frames": self._chunk * self._chance.randint(1, 6)}
        if done and self._chance.random() < 0.3:
            seen = self._chance.choice(done)
            more["pins"] = [{"shot": seen["id"], "frame": self._chance.randrange(seen["length"])}]
        self.asked.append(self.story.ask(self._chance.choice(_CAPTIONS), **more))

    def check(self) -> list[str]:
        """What is not as it was answered, a line each."""
        wrong = []
        shots = self.story.read()["shots"]
        for shot in self.asked:
            if shot not in shots:
                wrong.append(f"shot {shot} was answered and is gone")
        for shot in shots.values():
            if shot["state"] == "failed":
                wrong.append(f"shot {shot['id']} has failed: {shot['reason']}")
            if shot["state"] == "done":
                films = self.story.films(shot["id"], shot["chunks"])
                sums = [hashlib.sha256(film).hexdigest() for film in films]
                if self.films.setdefault(shot["id"], sums) != sums:
                    wrong.append(f"shot {shot['id']} was done and has changed")
        return wrong

    def wait_until_made(self) -> None:
        """Waits until nothing is to be made any more."""
        while True:
            states = [shot["state"] for shot in self.story.read()["shots"].values()]
            if all(state in _MADE for state in states):
                return
            time.sleep(0.2)

    def events(self, folder: pathlib.Path) -> list[dict[str, Any]]:
        """The story's log as it is on disk; a line that was cut off does not count."""
        data = (folder / "stories" / self.story.id / "log.jsonl").read_bytes()
        return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]

    def count(self, folder: pathlib.Path, kind: str) -> int:
        """How many events of a kind there are."""
        return len([event for event in self.events(folder) if event["event"] == kind])

    def open_shots(self, folder: pathlib.Path) -> list[str]:
        """The shots that are to be made, or were in the making, by the log on disk."""
        shots = {}
        for event in self.events(folder):
            if event["event"] == "asked":
                shots[event["shot"]] = event
            elif event["event"] in _MADE:
                shots.pop(event["shot"])
        return list(shots)


def tell_for(tellers: list[Teller], seconds: float, server: Served) -> None:
    """All tell for so long; then the server is killed."""
    is_over = threading.Event()
    threads = [threading.Thread(target=teller.tell, args=(is_over,)) for teller in tellers]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    server.kill()
    is_over.set()
    for thread in threads:
        thread.join()


def compare(rough: pathlib.Path, calm: pathlib.Path, tellers: list[Teller]) -> list[str]:
    """Makes the stories again from what was commanded, undisturbed; what differs, a line each."""
    # 1. The same stories, tokens and commands; nothing is done yet.
    skip = shutil.ignore_patterns("shots", "lock")
    shutil.copytree(rough / "stories", calm / "stories", ignore=skip)
    for teller in tellers:
        lines = []
        for event in teller.events(rough):
            if event["event"] != "done":
                lines.append(json.dumps({**event, "seq": len(lines) + 1}) + "\n")
        (calm / "stories" / teller.story.id / "log.jsonl").write_text("".join(lines))
    # 2. A server that was just started makes all of it.
    wrong = []
    with Served(calm) as server:
        for teller in tellers:
            teller.story.server = server
            teller.wait_until_made()
            shots = teller.story.read()["shots"]
            for shot, sums in teller.films.items():
                films = teller.story.films(shot, shots[shot]["chunks"])
                again = [hashlib.sha256(film).hexdigest() for film in films]
                if again != sums:
                    wrong.append(f"shot {shot} is another one when nobody kills the server")
    return wrong


if __name__ == "__main__":
    cli.run(main)

"""The storyboard's server under load, on this machine only, bounded in number and time.

    python -m benchmarks.stress.storyboard_load                all of it, some ten minutes
    python -m benchmarks.stress.storyboard_load --only aborts

sessions: 1, 4 and 16 stories at the same time, each with a place: the time from one chunk to the
next, how far the stories are apart (by the times of their files), memory a story.
reader: a viewer that stops reading, beside a story that goes on: memory, and the other's chunks.
aborts: 200 viewers that ask for a shot and vanish, half of which remove their story; the time to
the first frames of the next one.
long: 1,000 shots of one story: seconds a shot and memory, the time of its replay, and of opening it
at a server that was just started.

Prints a line of JSON for each, and what missed its bar; exit code 1 then. The bars on time compare
a server with itself a minute before, as the machine may be slow.
"""

import itertools
import pathlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence

from benchmarks.output import print_json
from benchmarks.served import RefusedError, Served, ServedStory, until
from benchmarks.stress.long_story import resident_mb
from shotstream_jax import cli

_ROUNDS = 3  # shots of each session
_CHUNKS = 8  # of a shot
_LONGEST_SHOT = 32  # chunks that a server takes
_UNREAD = 4  # times 128 chunks that nobody reads: more than the kernels hold
_ABORTS = 200
_SHOTS = 1000
# Bars.
_APART = 1  # chunks
_MB_A_STORY = 12.0
_MB_GROWN = 48.0
_SLOWER = 1.5  # times, and this much more:
_SLACK = 0.1  # seconds
_TURNS = 8.0  # times: who comes while all places are taken waits for the end of a shot
_REPLAY = 2.0  # seconds


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.stress.storyboard_load", __doc__)
    p.add_argument("--only", choices=tuple(_PARTS), action="append", help="one part; repeatable")
    p.add_argument("--aborts", type=int, default=_ABORTS, metavar="N", help="(%(default)s)")
    p.add_argument("--shots", type=int, default=_SHOTS, metavar="N", help="(%(default)s)")
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    missed: list[str] = []
    for name in args.only or _PARTS:
        with tempfile.TemporaryDirectory() as folder:
            counts = {"aborts": args.aborts, "long": args.shots}
            missed += _PARTS[name](pathlib.Path(folder), counts.get(name, 0))
    print_json(missed=missed)
    sys.exit(1 if missed else 0)


# Sessions.


def sessions(folder: pathlib.Path, _: int) -> list[str]:
    """1, 4 and 16 stories at the same time."""
    missed = []
    memory = {}
    for count in (1, 4, 16):
        with Served(folder / str(count), ("--places=16",)) as server:
            frames = _CHUNKS * server.chunk_frames()
            stories = [server.new_story(seed) for seed in range(count)]
            first: list[float] = []
            gaps: list[float] = []
            apart = 0
            for _ in range(_ROUNDS):
                shots = told_together(stories, frames, first, gaps)
                apart = max(apart, most_apart(stories, shots))
            memory[count] = resident_mb(server.process.pid)
        print_json(
            part="sessions",
            sessions=count,
            first_frames_s=median_and_high(first),
            chunk_s=median_and_high(gaps),
            chunks_apart=apart,
            resident_mb=round(memory[count]),
        )
        if apart > _APART:
            missed.append(f"{count} sessions were {apart} chunks apart")
    a_story = (memory[16] - memory[1]) / 15
    print_json(part="sessions", mb_a_story=round(a_story, 1))
    if a_story > _MB_A_STORY:
        missed.append(f"a story takes {a_story:.1f} MB")
    return missed


def told_together(
    stories: Sequence[ServedStory], frames: int, first: list[float], gaps: list[float]
) -> list[str]:
    """A shot of each story, asked for at the same moment; the shots' names.

    first, gaps: the seconds to the first chunk, and from one to the next, are added.
    """
    start = threading.Barrier(len(stories))
    shots = [""] * len(stories)

    def tell(number: int) -> None:
        """One session."""
        with stories[number].live() as messages:
            start.wait()
            last = time.time()
            shots[number] = stories[number].ask(frames=frames)
            for message in until(messages, shots[number]):
                if message["event"] == "chunk" and message["shot"] == shots[number]:
                    (gaps if message["chunk"] else first).append(message["came"] - last)
                    last = message["came"]

    run_all([lambda number=number: tell(number) for number in range(len(stories))])
    return shots


def most_apart(stories: Sequence[ServedStory], shots: Sequence[str]) -> int:
    """By how many chunks one of the shots was ahead of another, while all were in the making."""
    made = []
    for story, shot in zip(stories, shots, strict=True):
        folder = story.server.folder / "stories" / story.id / "shots" / shot
        times = [path.stat().st_mtime_ns for path in sorted(folder.glob("*.mp4"))]
        made.append(times)
    begin = max(times[0] for times in made)
    end = min(times[-1] for times in made)
    # After each chunk: how many each story has had since all had begun.
    moments = sorted(moment for times in made for moment in times if begin <= moment <= end)
    apart = 0
    for moment in moments:
        counts = [len([time for time in times if begin < time <= moment]) for times in made]
        apart = max(apart, max(counts) - min(counts))
    return apart


# A reader that stops.


def stopped_reader(folder: pathlib.Path, _: int) -> list[str]:
    """A story whose viewer reads nothing, and one beside it."""
    with Served(folder) as server:
        watched = server.new_story(1)
        beside = server.new_story(2)
        before = beside_gaps(watched, beside)
        memory = resident_mb(server.process.pid)
        with watched.live():
            # Nothing of it is read: what the kernels hold is full after some hundred chunks.
            during: list[float] = []
            for _ in range(_UNREAD):
                during += beside_gaps(watched, beside)
            grown = resident_mb(server.process.pid) - memory
            # By the server's patience, or by its signs of life that are not answered.
            is_let_go = wait_for(lambda: server.metrics()["shotstream_viewers"] == 0)
    print_json(
        part="reader",
        chunk_s_before=median_and_high(before),
        chunk_s_beside=median_and_high(during),
        mb_grown=round(grown, 1),
        is_let_go=is_let_go,
    )
    missed = []
    if grown > _MB_GROWN:
        missed.append(f"a viewer that reads nothing took {grown:.0f} MB")
    if is_slower(during, before):
        missed.append("a story beside a viewer that reads nothing was slower")
    if not is_let_go:
        missed.append("a viewer that reads nothing was not let go")
    return missed


def beside_gaps(watched: ServedStory, beside: ServedStory) -> list[float]:
    """Seconds from chunk to chunk of a story while another one has long shots made."""
    frames = _LONGEST_SHOT * watched.server.chunk_frames()
    for _ in range(4):
        shot = watched.ask(frames=frames)
    gaps: list[float] = []
    for _ in range(4):
        told_together([beside], frames, [], gaps)
    watched.wait(shot)
    return gaps


# Connects and aborts.


def aborts(folder: pathlib.Path, count: int) -> list[str]:
    """Viewers that ask and vanish, and the next user."""
    with Served(folder) as server:
        before = [seconds_to_first_frames(server) for _ in range(5)]
        memory = resident_mb(server.process.pid)
        threads = thread_count(server.process.pid)
        frames = 2 * server.chunk_frames()
        for number in range(count):
            story = server.new_story(number)
            with story.live() as messages:
                next(messages)
                story.ask(frames=frames)
            if number % 2:
                story.call("DELETE")
        after = [seconds_to_first_frames(server) for _ in range(5)]
        is_quiet = wait_for(lambda: is_idle(server))
        grown = resident_mb(server.process.pid) - memory
        more_threads = thread_count(server.process.pid) - threads
        late = [seconds_to_first_frames(server) for _ in range(5)]
    print_json(
        part="aborts",
        aborts=count,
        first_frames_s_before=median_and_high(before),
        next_user_s=round(after[0], 3),
        when_quiet=median_and_high(late),
        mb_grown=round(grown, 1),
        threads_more=more_threads,
        is_quiet=is_quiet,
    )
    missed = []
    if is_slower(after[:1], before, _TURNS) or is_slower(late, before):
        missed.append("the first frames after aborts were slower")
    if grown > _MB_GROWN:
        missed.append(f"aborts took {grown:.0f} MB")
    if not is_quiet or more_threads > 8:
        missed.append("aborts have left viewers, shots or threads")
    return missed


def seconds_to_first_frames(server: Served) -> float:
    """Of a new story's shot."""
    first: list[float] = []
    told_together([server.new_story()], server.chunk_frames(), first, [])
    return first[0]


def is_idle(server: Served) -> bool:
    """Whether nobody watches, and nothing is made."""
    figures = server.metrics()
    names = ("viewers", "places_used", "waiting")
    return not any(figures[f"shotstream_{name}"] for name in names)


def thread_count(pid: int) -> int:
    """Threads of a process (Linux)."""
    return len(list(pathlib.Path(f"/proc/{pid}/task").iterdir()))


# A long story.


def long_story(folder: pathlib.Path, count: int) -> list[str]:
    """So many shots of one story, which then is opened again."""
    with Served(folder) as server:
        story = server.new_story()
        seconds, memory = tell_shots(server, story, count)
        replay = timed(lambda: story.wait(last_shot(story)))
        is_refused = False
        if count >= _SHOTS:
            try:
                story.ask()
            except RefusedError as error:
                is_refused = error.status == 409
    with Served(folder) as server:
        story.server = server
        opened = timed(story.read)
        replay_again = timed(lambda: story.wait(last_shot(story)))
        film = timed(lambda: story.call("GET", "/video"))
    tenth = max(1, count // 10)
    early = slice(tenth, 2 * tenth)
    late = slice(-tenth, None)
    grown = statistics.median(memory[late]) - statistics.median(memory[early])
    print_json(
        part="long",
        shots=count,
        shot_s_second_tenth=median_and_high(seconds[early]),
        shot_s_last_tenth=median_and_high(seconds[late]),
        mb_grown=round(grown, 1),
        replay_s=[round(replay, 2), round(replay_again, 2)],
        opened_again_s=round(opened, 2),
        film_s=round(film, 2),
        the_next_is_refused=is_refused,
    )
    missed = []
    if is_slower(seconds[late], seconds[early]):
        missed.append("a shot takes longer in a long story")
    if grown > _MB_GROWN:
        missed.append(f"a long story took {grown:.0f} MB more")
    if max(replay, replay_again, opened) > _REPLAY:
        missed.append("a long story is opened slowly")
    return missed


def tell_shots(server: Served, story: ServedStory, count: int) -> tuple[list[float], list[float]]:
    """The seconds of each shot, and the server's memory after it."""
    frames = server.chunk_frames()
    seconds = []
    memory = []
    with story.live() as messages:
        # Some wait always, so that the device never does.
        asked = [story.ask(frames=frames) for _ in range(min(count, 4))]
        last = time.time()
        for number in itertools.count():
            for message in until(messages, asked[number]):
                came = message["came"]
            seconds.append(came - last)
            last = came
            memory.append(resident_mb(server.process.pid))
            if len(seconds) == count:
                return seconds, memory
            if len(asked) < count:
                asked.append(story.ask(frames=frames))
    raise AssertionError


def last_shot(story: ServedStory) -> str:
    """The name of the story's last shot."""
    return story.read()["head"]


# Figures.


def timed(act: Callable[[], object]) -> float:
    """The seconds of an act."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def median_and_high(seconds: Sequence[float]) -> list[float]:
    """The median and the 95th percentile."""
    values = sorted(seconds)
    high = values[min(len(values) - 1, int(0.95 * len(values)))]
    return [round(statistics.median(values), 3), round(high, 3)]


def is_slower(seconds: Sequence[float], before: Sequence[float], times: float = _SLOWER) -> bool:
    """Whether the median has grown by more than so many times, and some slack."""
    bar = times * statistics.median(before) + _SLACK
    return statistics.median(seconds) > bar


def wait_for(is_so: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Waits until something is so; False if it is not in time."""
    end = time.time() + seconds
    while time.time() < end:
        if is_so():
            return True
        time.sleep(0.5)
    return False


def run_all(acts: Sequence[Callable[[], None]]) -> None:
    """Does all of them at the same time."""
    threads = [threading.Thread(target=act) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


_PARTS: dict[str, Callable[[pathlib.Path, int], list[str]]] = {
    "sessions": sessions,
    "reader": stopped_reader,
    "aborts": aborts,
    "long": long_story,
}


if __name__ == "__main__":
    cli.run(main)

// Chunk files played one after another through Media Source Extensions.
//
// One buffer in the mode "segments"; each file's place on the timeline is set before it is appended.
// The stream never ends: an ended one cannot be lengthened. WebKit does not go on by itself after it
// has run dry, so a watchdog seeks to what has come since. Only what is near the playhead is held;
// what the browser or the player lets go is appended again when it is needed.

/** @typedef {{name: string, at: number, end: number, film: () => Promise<ArrayBuffer>}} Piece */

const KIND = 'video/mp4; codecs="avc1.640028"';
const STALLED = 250; // milliseconds without progress
const FRAME = 0.2; // seconds that one picture lasts at most
const BEHIND = 120; // seconds that are held
const AHEAD = 60;

export class Player {
  /** @param {HTMLVideoElement} video @param {(problem: string) => void} onProblem */
  constructor(video, onProblem) {
    this.video = video;
    this.onProblem = onProblem;
    /** @type {Piece[]} */
    this.wanted = [];
    /** @type {Map<string, Piece>} */
    this.held = new Map();
    /** @type {SourceBuffer | null} */
    this.buffer = null;
    this.isFetching = false;
    this.seen = { time: -1, since: 0 };
    const Source = /** @type {any} */ (window).ManagedMediaSource ?? window.MediaSource;
    if (!Source) {
      onProblem("This browser cannot play film that is still being made. Export it instead.");
      return;
    }
    this.source = new Source();
    video.disableRemotePlayback = true;
    if ("ManagedMediaSource" in window) video.srcObject = this.source;
    else video.src = URL.createObjectURL(this.source);
    this.source.addEventListener("sourceopen", () => this.open(), { once: true });
    video.addEventListener("seeking", () => this.step());
    setInterval(() => this.watch(), STALLED);
  }

  open() {
    /** @type {SourceBuffer} */
    const buffer = this.source.addSourceBuffer(KIND);
    buffer.mode = "segments";
    buffer.addEventListener("updateend", () => this.step());
    this.buffer = buffer;
    this.step();
  }

  /** The film from its beginning. @param {Piece[]} pieces in their order */
  setTimeline(pieces) {
    this.wanted = pieces;
    this.step();
  }

  /** Where the film ends so far, in seconds. */
  get end() {
    return this.wanted.at(-1)?.end ?? 0;
  }

  /** @param {number} time */
  playFrom(time) {
    this.video.currentTime = time + 0.001;
    this.video.play().catch(() => {});
  }

  /** One change of the buffer, if one is needed. */
  step() {
    if (!this.buffer || this.buffer.updating || this.isFetching) return;
    const now = this.video.currentTime;
    // 1. What belongs to another branch goes, with all that follows it.
    const wanted = new Map(this.wanted.map((piece) => [piece.name, piece.at]));
    const foreign = [...this.held.values()].filter((piece) => wanted.get(piece.name) !== piece.at);
    if (foreign.length) return this.drop(Math.min(...foreign.map((piece) => piece.at)), Infinity);
    // 2. What is far behind goes.
    const old = [...this.held.values()].filter((piece) => piece.end < now - BEHIND);
    if (old.length > 8) return this.drop(0, Math.max(...old.map((piece) => piece.end)));
    // 3. The playhead stays inside the film.
    if (this.wanted.length && now > this.end + 0.01) this.video.currentTime = this.end - 0.02;
    // 4. The next piece that is missing.
    const next = this.wanted.find(
      ({ name, at, end }) => !this.held.has(name) && end > now - BEHIND / 2 && at < now + AHEAD,
    );
    if (next) this.append(next);
  }

  /** @param {Piece} piece */
  async append(piece) {
    this.isFetching = true;
    try {
      const film = await piece.film();
      if (!this.buffer) return;
      this.buffer.timestampOffset = piece.at;
      this.buffer.appendBuffer(film);
      this.held.set(piece.name, piece);
    } catch (problem) {
      // Full: what has been seen goes first. Otherwise the watchdog tries again.
      const isFull = problem instanceof DOMException && problem.name === "QuotaExceededError";
      if (isFull) this.drop(0, Math.max(0.1, this.video.currentTime - 10));
    } finally {
      this.isFetching = false;
    }
  }

  /** @param {number} from @param {number} to */
  drop(from, to) {
    for (const [name, piece] of this.held) {
      if (piece.end > from && piece.at < to) this.held.delete(name);
    }
    this.buffer?.remove(from, to);
  }

  watch() {
    this.step();
    const { video, seen } = this;
    const now = performance.now();
    if (video.currentTime !== seen.time || video.paused) {
      this.seen = { time: video.currentTime, since: now };
      return;
    }
    if (now - seen.since < STALLED) return;
    // From a piece's last frame to the next piece; where it stands inside of one, on from there.
    const time = video.currentTime;
    const next = this.wanted.find(({ at }) => at > time);
    const isAtEnd = next !== undefined && next.at - time < FRAME;
    const needed = isAtEnd ? next.at : time + FRAME;
    for (let i = 0; i < video.buffered.length; i++) {
      if (video.buffered.end(i) > needed) {
        const start = isAtEnd ? next.at : time;
        video.currentTime = Math.max(video.buffered.start(i), start) + 0.001;
        return;
      }
    }
  }
}

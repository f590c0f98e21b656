// Chunk files played one after another through Media Source Extensions.
//
// One buffer in the mode "segments"; each file's place on the timeline is set before it is appended.
// The stream never ends: an ended one cannot be lengthened. WebKit does not go on by itself after it
// has run dry, so a watchdog seeks to what has come since.

const KIND = 'video/mp4; codecs="avc1.640028"';
const STALLED = 250; // milliseconds without progress

export class Player {
  /** @param {HTMLVideoElement} video */
  constructor(video) {
    this.video = video;
    /** @type {{at: number, film: ArrayBuffer}[]} */
    this.waiting = [];
    /** @type {SourceBuffer | null} */
    this.buffer = null;
    this.seen = { time: -1, since: 0 };
    const Source = /** @type {any} */ (window).ManagedMediaSource ?? window.MediaSource;
    this.source = new Source();
    video.disableRemotePlayback = true;
    if ("ManagedMediaSource" in window) video.srcObject = this.source;
    else video.src = URL.createObjectURL(this.source);
    this.source.addEventListener("sourceopen", () => this.open(), { once: true });
    setInterval(() => this.watch(), STALLED);
  }

  open() {
    this.buffer = this.source.addSourceBuffer(KIND);
    this.buffer.mode = "segments";
    this.buffer.addEventListener("updateend", () => this.step());
    this.step();
  }

  /** @param {number} at seconds on the timeline @param {ArrayBuffer} film a chunk file */
  add(at, film) {
    this.waiting.push({ at, film });
    this.step();
  }

  step() {
    if (!this.buffer || this.buffer.updating) return;
    const next = this.waiting.shift();
    if (!next) return;
    this.buffer.timestampOffset = next.at;
    this.buffer.appendBuffer(next.film);
    this.video.play().catch(() => {});
  }

  watch() {
    const { video, seen } = this;
    const now = performance.now();
    if (video.currentTime !== seen.time || video.paused) {
      this.seen = { time: video.currentTime, since: now };
      return;
    }
    for (let i = 0; i < video.buffered.length; i++) {
      const start = video.buffered.start(i);
      const isAhead = video.buffered.end(i) > video.currentTime + 0.05;
      if (isAhead && now - seen.since >= STALLED) {
        video.currentTime = Math.max(start, video.currentTime) + 0.001;
        return;
      }
    }
  }
}

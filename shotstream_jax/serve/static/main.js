// The page: it writes down what the person asks for, and shows what the server makes of it.

import * as api from "./api.js";
import { listenForKeys } from "./keys.js";
import { Player } from "./player.js";
import { Studio } from "./studio.js";
import { render } from "./vendor/lit-html.js";
import * as view from "./view.js";
import { completion } from "./words.js";

/** @typedef {import("./events.js").Shot} Shot */

const NO_NOTES = { unknown: [], swallowed: "", cut: 0 };
const PAUSE = 300; // milliseconds without a key before a prompt is checked
const KEPT = "shotstream-story";
const NO_SUCH_FILE = "Drop a picture (PNG, JPEG, WebP) or a story file (zip)";
const ABOUT = "A cartoon about a green frog and a tall giraffe, in the meadow and on the beach.";
/** @param {string} id @returns {any} */
const element = (id) => document.getElementById(id);

export class Page {
  /** @param {any} model */
  constructor(model) {
    /** @type {HTMLVideoElement} */
    this.video = element("film");
    this.known = new Set(model.words.map((/** @type {string} */ word) => word.toLowerCase()));
    this.studio = new Studio(model, () => this.later());
    this.player = new Player(this.video, (problem) => this.studio.tell(problem, true));
    this.about = model.words.length ? ABOUT : "";
    this.example = model.examples[0] ?? "What the next shot shows";
    this.text = "";
    this.rest = "";
    /** @type {import("./words.js").Notes} */
    this.notes = NO_NOTES;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.checking = undefined;
    this.isRefused = false;
    /** @type {string | null} */
    this.playing = null;
    /** @type {string | null} */
    this.awaited = null;
    this.isDrawing = false;
    for (const event of ["timeupdate", "play", "pause", "seeked"]) {
      this.video.addEventListener(event, () => this.later());
    }
  }

  /** The shot that Tab leads to. */
  get tabShot() {
    return this.studio.selected ?? this.studio.branch.at(-1)?.id ?? null;
  }

  /** Draws once, however much has changed. */
  later() {
    if (this.isDrawing) return;
    this.isDrawing = true;
    requestAnimationFrame(() => {
      this.isDrawing = false;
      this.draw();
    });
  }

  draw() {
    const { studio } = this;
    const pieces = studio.timeline();
    this.player.setTimeline(pieces);
    const now = this.video.currentTime;
    const piece = pieces.find(({ end }) => end > now) ?? pieces.at(-1);
    this.playing = piece ? piece.name.split(" ")[0] : null;
    this.showAwaited(pieces);
    document.body.classList.toggle("watching", !studio.isOwner);
    render(view.headerView(this), element("header"));
    render(view.stageView(this), element("over"));
    render(view.transportView(this), element("transport"));
    render(studio.isOwner ? view.promptView(this) : "", element("ask"));
    this.scrollMarks();
    render(view.stripView(this), element("strip"));
    element("note").textContent = studio.note;
    element("note").classList.toggle("bad", studio.isProblem);
  }

  /** The marks stay under their words in a line that is longer than its field. */
  scrollMarks() {
    const field = element("prompt");
    if (field) field.previousElementSibling.scrollLeft = field.scrollLeft;
  }

  /** The shot that was asked for is shown as soon as there is some of it. @param {{name: string, at: number}[]} pieces */
  showAwaited(pieces) {
    const first = pieces.find(({ name }) => name === `${this.awaited} 0`);
    if (!first) return;
    this.awaited = null;
    const { video } = this;
    // A film that runs towards it goes on; one that stands, or is far back, goes there.
    if (video.paused || first.at - video.currentTime > 3) this.seek(first.at);
    this.play(true);
  }

  /** @param {() => unknown} act */
  act(act) {
    this.studio.note = "";
    return this.studio.try(async () => act());
  }

  // Playing.

  /** @param {boolean} [isOn] by default the other of what it is */
  play(isOn = this.video.paused) {
    if (!isOn) return this.video.pause();
    const isAtEnd = this.video.currentTime > this.player.end - 0.1;
    if (isAtEnd && !this.awaited && !this.studio.making && this.video.paused) this.seek(0);
    this.video.play().then(
      () => (this.isRefused = false),
      (problem) => {
        this.isRefused = problem.name === "NotAllowedError";
        this.later();
      },
    );
  }

  /** @param {number} time */
  seek(time) {
    this.video.currentTime = time + 0.001;
  }

  /** Chooses a shot and plays it. @param {Shot} shot */
  pick(shot) {
    this.studio.selected = shot.id;
    const start = this.studio.startOf(shot);
    if (start !== null) this.player.playFrom(start);
    this.later();
  }

  /** @param {number} by */
  pickBeside(by) {
    const shots = this.studio.branch;
    const at = shots.findIndex((shot) => shot.id === (this.studio.selected ?? this.playing));
    const shot = shots[Math.min(shots.length - 1, Math.max(0, at + by))];
    if (!shot) return;
    this.pick(shot);
    const face = /** @type {any} */ (document.querySelector(`[data-shot="${shot.id}"]`));
    face?.focus();
    face?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** The chosen shot, or the one on the screen. @returns {Shot | null} */
  get chosen() {
    const id = this.studio.selected ?? this.playing;
    return (id && this.studio.board.shots.get(id)) || null;
  }

  // Writing.

  /** @param {string} text */
  write(text) {
    this.text = text;
    if (element("prompt")) element("prompt").value = text;
    this.rest = completion(text, this.studio.model.words);
    this.checkSoon();
    this.later();
  }

  /** @param {string} about */
  writeAbout(about) {
    this.about = about;
    this.checkSoon();
  }

  /** Asks the server what it makes of the prompt, once no key is pressed for a moment. */
  checkSoon() {
    clearTimeout(this.checking);
    if (!this.text) this.notes = NO_NOTES;
    this.checking = setTimeout(() => this.check(), PAUSE);
  }

  async check() {
    const { text } = this;
    const about = this.studio.key ? this.studio.about : this.about;
    // A prompt that cannot be checked now is checked when it is sent.
    const notes = await api.checkPrompt(text || this.example, about).catch(() => NO_NOTES);
    if (text === this.text) this.notes = text ? notes : { ...NO_NOTES, swallowed: notes.swallowed };
    this.later();
  }

  /** @param {string} example */
  useExample(example) {
    this.write(example);
    element("prompt").focus();
  }

  /** The rest of the word that is begun; false if there is none. */
  complete() {
    if (!this.rest) return false;
    this.write(`${this.text + this.rest} `);
    return true;
  }

  /** @param {Event} event */
  submit(event) {
    event.preventDefault();
    const caption = this.text.trim();
    const { studio } = this;
    if (!caption || (studio.isFull && studio.mode.kind !== "tell")) return;
    const mode = studio.mode;
    // The line is free for the next prompt at once; a refused one comes back.
    studio.mode = { kind: "next" };
    this.write("");
    return this.act(async () => {
      try {
        if (!studio.key) await this.begin();
        await studio.submit(caption, mode);
        this.awaited = lastAsked(studio);
      } catch (problem) {
        if (!this.text) {
          studio.mode = mode;
          this.write(caption);
        }
        throw problem;
      }
    });
  }

  async begin() {
    const made = await api.makeStory({ global_caption: this.about.trim() });
    localStorage.setItem(KEPT, JSON.stringify({ id: made.id, token: made.token }));
    await this.studio.open(made);
  }

  /** @param {"fork" | "remake" | "tell"} kind @param {Shot} shot */
  setMode(kind, shot) {
    this.studio.mode = { kind, shot: shot.id };
    this.write(kind === "fork" ? "" : (shot.cues.at(-1)?.caption ?? shot.caption));
    element("prompt").focus();
  }

  leaveMode() {
    this.studio.mode = { kind: "next" };
    this.write("");
  }

  /** A shot becomes the head, and is played. @param {Shot} shot */
  async goTo(shot) {
    this.studio.selected = shot.id;
    await this.studio.goTo(shot.id);
    this.awaited = shot.made ? shot.id : null;
  }

  // Pins and files.

  /** The picture on the screen is one that the next shot sees. */
  pin() {
    const { studio, video } = this;
    const { fps } = studio.model.video;
    const shot = studio.branch.findLast((other) => (studio.startOf(other) ?? Infinity) <= video.currentTime);
    if (!shot || shot.state !== "done") return studio.tell("Only a shot that is done can be pinned", true);
    const frame = Math.floor((video.currentTime - (studio.startOf(shot) ?? 0)) * fps);
    studio.pins = [...studio.pins, { shot: shot.id, frame: Math.min(frame, (shot.length ?? 1) - 1) }];
    studio.tell("The next shot sees this picture");
  }

  /** @param {number} index */
  unpin(index) {
    this.studio.pins = this.studio.pins.filter((_, i) => i !== index);
    this.later();
  }

  /** @param {string} id of a hidden file input */
  chooseFile(id) {
    element(id).click();
  }

  /** @param {File} file a picture or a story file */
  openFile(file) {
    return this.act(async () => {
      if (!/\.(zip|png|jpe?g|webp)$/i.test(file.name)) throw new Error(NO_SUCH_FILE);
      if (file.type.startsWith("image/")) {
        if (!this.studio.key) await this.begin();
        const key = /** @type {any} */ (this.studio.key);
        const { picture } = await api.keepPicture(key, file);
        this.studio.pins = [...this.studio.pins, { picture }];
        return;
      }
      const { id, token } = await api.openStoryFile(file);
      localStorage.setItem(KEPT, JSON.stringify({ id, token }));
      startWith("");
    });
  }

  /** @param {string} path @param {string} kind */
  save(path, kind) {
    return this.act(async () => {
      const file = await api.readFile(/** @type {any} */ (this.studio.key), path);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(file);
      link.download = `${this.studio.board.title || "story"}.${kind}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    });
  }

  copyLink() {
    const { key, share } = this.studio;
    const link = `${location.origin}/#${key?.id}.${share}`;
    return this.act(async () => {
      // The clipboard is not there on http:// from another machine.
      if (navigator.clipboard) await navigator.clipboard.writeText(link).catch(() => {});
      this.studio.tell(`Whoever has this link can watch: ${link}`);
    });
  }

  startAnew() {
    localStorage.removeItem(KEPT);
    startWith("");
  }

  toggleKeys() {
    const dialog = element("keys");
    render(view.keysView(this), dialog);
    if (dialog.open) dialog.close();
    else dialog.showModal();
  }
}

/** @param {Studio} studio */
function lastAsked(studio) {
  const step = studio.history?.done.at(-1);
  return step?.kind === "ask" ? step.shot : null;
}

/** Loads the page again. @param {string} fragment */
function startWith(fragment) {
  history.replaceState(null, "", `/${fragment}`);
  location.reload();
}

/** The story of the address, or of this browser. @returns {{id: string, token: string} | null} */
function storyToOpen() {
  const [id, token] = location.hash.slice(1).split(".");
  if (id && token) return { id, token };
  return JSON.parse(localStorage.getItem(KEPT) ?? "null");
}

async function main() {
  const page = new Page(await api.readModel());
  const { width, height } = page.studio.model.video;
  document.documentElement.style.setProperty("--aspect", String(width / height));
  listenForKeys(page);
  for (const id of ["story-file", "picture-file"]) {
    element(id).addEventListener("change", (/** @type {any} */ event) => {
      if (event.target.files[0]) page.openFile(event.target.files[0]);
      event.target.value = "";
    });
  }
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const file = event.dataTransfer?.files[0];
    if (file) page.openFile(file);
  });
  // The caret may have scrolled the line.
  document.addEventListener("selectionchange", () => page.later());
  addEventListener("hashchange", () => location.reload());
  const key = storyToOpen();
  if (key) {
    await page.studio.open(key).catch((problem) => {
      page.studio.connection = "refused";
      page.studio.tell(problem.message, true);
    });
  }
  page.draw();
}

main().catch((problem) => {
  element("note").textContent = `The server does not answer: ${problem.message}. Load the page again.`;
});

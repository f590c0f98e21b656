// What a person can do with the story. Each command goes to the server; what comes of it arrives as
// events, and only they change the board.

import * as api from "./api.js";
import { applyEvent, branch, emptyBoard } from "./events.js";
import { History } from "./history.js";
import { follow } from "./live.js";

/** @typedef {import("./events.js").Shot} Shot */
/** @typedef {import("./events.js").Pin} Pin */
/** @typedef {{kind: "next"} | {kind: "fork" | "remake" | "tell", shot: string}} Mode */

export class Studio {
  /** @param {any} model the server's answer @param {() => void} onChange */
  constructor(model, onChange) {
    this.model = model;
    this.onChange = onChange;
    /** @type {{id: string, token: string} | null} */
    this.key = null;
    this.share = "";
    this.about = "";
    this.board = emptyBoard();
    this.connection = "none";
    /** @type {string | null} */
    this.selected = null;
    /** @type {Mode} */
    this.mode = { kind: "next" };
    /** @type {Pin[]} */
    this.pins = [];
    this.note = "";
    this.isProblem = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.fading = undefined;
    /** @type {History | null} */
    this.history = null;
    /** @type {Map<string, Promise<ArrayBuffer>>} */
    this.films = new Map();
    /** @type {Map<string, string>} */
    this.posters = new Map();
    this.rate = 0;
    this.firstFrames = 0;
    /** Of the shot in the making: when it got its place, and its frames since. */
    this.pace = { since: 0, frames: 0 };
    /** Commands follow one another, as undo must not overtake what it undoes. @type {Promise<void>} */
    this.last = Promise.resolve();
  }

  get isOwner() {
    return !this.key || this.board.role !== "viewer";
  }

  /** @returns {Shot[]} */
  get branch() {
    return branch(this.board, this.board.head);
  }

  /** Shots that are to be made, or in the making. */
  get unmade() {
    const isOpen = (/** @type {Shot} */ { state }) => state === "queued" || state === "making";
    return [...this.board.shots.values()].filter(isOpen).length;
  }

  get isFull() {
    return this.unmade >= this.model.limits.queue;
  }

  /** @returns {Shot | undefined} */
  get making() {
    return [...this.board.shots.values()].find((shot) => shot.state === "making");
  }

  /** @param {{id: string, token: string}} key */
  async open(key) {
    const story = await api.readStory(key);
    this.key = key;
    this.share = story.share ?? "";
    this.about = story.global_caption;
    this.history = new History(key.id, sessionStorage);
    follow(key, () => this.cursor(), {
      event: (event) => this.take(event),
      chunk: (facts, film) => this.takeChunk(facts, film),
      state: (state) => {
        // Why the line broke is shown until it holds again.
        const isKnown = this.connection === "restarting" || this.connection === "full";
        const isVague = state === "connecting" || state === "lost";
        if (!(isKnown && isVague)) this.connection = state;
        this.onChange();
      },
    });
  }

  cursor() {
    const making = this.making;
    return { have: this.board.seq, shot: making?.id ?? null, chunks: making?.made ?? 0 };
  }

  /** @param {any} event */
  take(event) {
    this.board = applyEvent(this.board, event);
    if (event.event === "failed") this.tell(`A shot could not be made: ${event.reason}`, true);
    if (event.event === "welcome") this.pace = { since: 0, frames: 0 };
    if (event.event === "making") this.pace = { since: performance.now(), frames: 0 };
    if (event.event === "bye") this.connection = "restarting";
    this.onChange();
  }

  /** @param {any} facts @param {ArrayBuffer} film */
  takeChunk(facts, film) {
    if (facts.waited !== undefined) this.firstFrames = facts.waited;
    // From the shot's beginning: two chunks that come at once say nothing about their making.
    this.pace.frames += facts.frames;
    const seconds = (performance.now() - this.pace.since) / 1000;
    if (this.pace.since) this.rate = this.pace.frames / seconds;
    this.films.set(`${facts.shot} ${facts.chunk}`, Promise.resolve(film));
    this.board = applyEvent(this.board, { event: "chunk", ...facts });
    this.onChange();
  }

  /** The film of the branch, chunk by chunk. @returns {import("./player.js").Piece[]} */
  timeline() {
    const { fps, first_chunk, later_chunk } = this.model.video;
    const pieces = [];
    let frame = 0;
    for (const shot of this.branch) {
      for (let chunk = 0; chunk < shot.made; chunk++) {
        const end = frame + (chunk ? later_chunk : first_chunk);
        const name = `${shot.id} ${chunk}`;
        const film = () => this.film(shot.id, chunk);
        pieces.push({ name, at: frame / fps, end: end / fps, film });
        frame = end;
      }
    }
    return pieces;
  }

  /** @param {string} shot @param {number} chunk */
  film(shot, chunk) {
    const name = `${shot} ${chunk}`;
    const kept = this.films.get(name);
    if (kept || !this.key) return kept ?? Promise.reject(new Error("no story"));
    const film = api.readChunk(this.key, shot, chunk);
    this.films.set(name, film);
    film.catch(() => this.films.delete(name));
    // The least recent ones are read again when they are needed.
    if (this.films.size > 400) this.films.delete([...this.films.keys()][0]);
    return film;
  }

  /** A shot's place in seconds. @param {Shot} shot */
  startOf(shot) {
    return this.timeline().find((piece) => piece.name === `${shot.id} 0`)?.at ?? null;
  }

  /** The address of a shot's poster, "" until it is there. @param {Shot} shot */
  poster(shot) {
    const kept = this.posters.get(shot.id);
    if (kept !== undefined || shot.state !== "done" || !this.key) return kept ?? "";
    this.posters.set(shot.id, "");
    api.readFile(this.key, `/shots/${shot.id}/poster`).then(
      (blob) => {
        this.posters.set(shot.id, URL.createObjectURL(blob));
        this.onChange();
      },
      () => {},
    );
    return "";
  }

  /** @param {string} note @param {boolean} [isProblem] */
  tell(note, isProblem = false) {
    this.note = note;
    this.isProblem = isProblem;
    // What went wrong stays until the next command.
    clearTimeout(this.fading);
    if (note && !isProblem) this.fading = setTimeout(() => this.tell(""), 6000);
    this.onChange();
  }

  /** Does something after all that is under way, and says what went wrong. @param {() => Promise<unknown>} act */
  try(act) {
    this.last = this.last.then(() => this.attempt(act));
    return this.last;
  }

  /** @param {() => Promise<unknown>} act */
  async attempt(act) {
    try {
      await act();
    } catch (problem) {
      this.tell(problem instanceof Error ? problem.message : String(problem), true);
    }
    this.onChange();
  }

  // Commands.

  /** What Enter does. @param {string} caption @param {Mode} mode */
  async submit(caption, mode) {
    const key = this.key;
    if (!key) return;
    const shot = mode.kind === "next" ? null : (this.board.shots.get(mode.shot) ?? null);
    const isOpen = shot?.state === "queued" || shot?.state === "making";
    if (shot && mode.kind === "tell" && isOpen) {
      const before = shot.cues.at(-1)?.caption ?? shot.caption;
      await api.retellShot(key, shot.id, { caption, again: true });
      this.history?.add({ kind: "tell", shot: shot.id, before, after: caption });
      this.tell(shot.state === "making" ? "The shot turns at its next chunk" : "Changed");
    } else if (shot && mode.kind === "fork") await this.ask({ caption, parent: shot.id });
    else if (shot) await this.ask({ caption, parent: shot.parent });
    else await this.ask({ caption });
  }

  /** @param {{caption: string, parent?: string | null, take?: number, pins?: Pin[]}} wish */
  async ask(wish) {
    if (!this.key) return null;
    const before = this.board.head;
    const pins = wish.pins ?? this.pins;
    const shot = await api.askForShot(this.key, { ...wish, pins });
    this.pins = [];
    const { id, caption, parent, take } = shot;
    this.history?.add({ kind: "ask", shot: id, caption, parent, take, pins, before });
    return id;
  }

  /** @param {Shot} shot */
  anotherTake(shot) {
    return this.ask({ caption: shot.caption, parent: shot.parent, pins: shot.pins });
  }

  /** Where the next shot goes on. @param {string | null} head */
  async goTo(head) {
    const before = this.board.head;
    if (!this.key || head === before) return;
    await api.changeStory(this.key, { head });
    this.history?.add({ kind: "head", before, after: head });
  }

  async cut() {
    const shot = this.making;
    if (!shot || !this.key) return this.tell("No shot is in the making");
    await api.cutShot(this.key, shot.id);
    this.history?.add({ kind: "cut", shot: shot.id });
    this.tell("Cut after this chunk; what there is stays");
  }

  /** @param {Shot} shot */
  async putAway(shot) {
    if (!this.key) return;
    const before = this.board.head;
    await api.takeAway(this.key, shot.id);
    const { id, caption, parent, take, pins } = shot;
    if (shot.state === "done") this.history?.add({ kind: "hide", shot: id, before });
    else this.tell(`Cancelled: ${caption}`);
    if (this.selected === id) this.selected = null;
  }

  /** @param {string} title */
  async name(title) {
    const before = this.board.title;
    if (!this.key || title === before) return;
    await api.changeStory(this.key, { title });
    this.history?.add({ kind: "title", before, after: title });
  }

  async undo() {
    const step = await this.history?.undo((done) => this.turn(done, false));
    this.tell(step ? `Undone: ${NAMES[step.kind]}` : "Nothing to undo");
  }

  async redo() {
    const step = await this.history?.redo((done) => this.turn(done, true));
    this.tell(step ? `Done again: ${NAMES[step.kind]}` : "Nothing to redo");
  }

  /** One step back or forth. @param {import("./history.js").Step} step @param {boolean} isRedo */
  async turn(step, isRedo) {
    const key = this.key;
    if (!key) return step;
    switch (step.kind) {
      case "ask":
        return isRedo ? this.askAgain(step) : this.takeBack(step);
      case "head":
        await api.changeStory(key, { head: isRedo ? step.after : step.before });
        return step;
      case "title":
        await api.changeStory(key, { title: isRedo ? step.after : step.before });
        return step;
      case "tell": {
        const shot = this.board.shots.get(step.shot);
        const isOpen = shot?.state === "queued" || shot?.state === "making";
        const caption = isRedo ? step.after : step.before;
        if (isOpen) await api.retellShot(key, step.shot, { caption, again: true });
        // What is made does not change: the shot as it was told before is made beside it.
        else if (isRedo) await api.changeStory(key, { head: step.shot });
        else if (shot) {
          const { parent, take, pins } = shot;
          await api.askForShot(key, { caption, parent, take, pins });
        }
        return step;
      }
      case "hide":
        if (isRedo) await api.takeAway(key, step.shot);
        else {
          await api.restoreShot(key, step.shot);
          await api.changeStory(key, { head: step.before });
        }
        return step;
      case "cut": {
        // The whole shot, with the same noise; the cut one stays in the tree.
        const shot = this.board.shots.get(step.shot);
        if (isRedo) await api.changeStory(key, { head: step.shot });
        else if (shot) {
          const { caption, parent, take, pins } = shot;
          await api.askForShot(key, { caption, parent, take, pins });
        }
        return step;
      }
    }
  }

  /** A shot that is made stays in the tree. @param {any} step */
  async takeBack(step) {
    const key = /** @type {{id: string, token: string}} */ (this.key);
    const state = this.board.shots.get(step.shot)?.state;
    if (state === "queued" || state === "making") await api.takeAway(key, step.shot);
    await api.changeStory(key, { head: step.before });
    return step;
  }

  /** @param {any} step */
  async askAgain(step) {
    const key = /** @type {{id: string, token: string}} */ (this.key);
    const shot = this.board.shots.get(step.shot);
    if (shot?.state === "done") {
      await api.changeStory(key, { head: shot.id });
      return step;
    }
    const { caption, parent, take, pins } = step;
    const again = await api.askForShot(key, { caption, parent, take, pins });
    return { ...step, shot: again.id };
  }
}

/** @type {Record<string, string>} */
const NAMES = {
  ask: "the shot",
  head: "the change of place",
  title: "the title",
  tell: "the other words",
  hide: "putting a shot away",
  cut: "the cut",
};

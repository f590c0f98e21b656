// What a person can do with the story. Each command goes to the server; what comes of it arrives as
// events, and only they change the board.

import * as api from "./api.js";
import { applyEvent, branch, emptyBoard } from "./events.js";
import { Film } from "./film.js";
import { History } from "./history.js";
import { follow } from "./live.js";
import { NAMES, turn, wishOf } from "./undo.js";

/** @typedef {import("./events.js").Shot} Shot */
/** @typedef {import("./events.js").Pin} Pin */
/** @typedef {{kind: "next"} | {kind: "fork" | "remake" | "tell", shot: string}} Mode */
/** @typedef {{frames: number | null, styles: Record<string, number>}} Choices  beside a caption */

export class Studio {
  /** @param {any} model the server's answer @param {() => void} onChange
   *  @param {() => void} onFilm the film has grown, which the player need not see drawn first */
  constructor(model, onChange, onFilm) {
    this.model = model;
    this.onChange = onChange;
    this.onFilm = onFilm;
    /** @type {api.Key | null} */
    this.key = null;
    /** The server's answer about the story. @type {any} */
    this.story = null;
    this.board = emptyBoard();
    this.film = new Film(model.video, onChange);
    this.connection = "none";
    /** @type {string | null} */
    this.selected = null;
    /** @type {Pin[]} */
    this.pins = [];
    this.note = "";
    this.isProblem = false;
    /** What a screen reader is told of the shots. */
    this.spoken = "";
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.fading = undefined;
    /** @type {History | null} */
    this.history = null;
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
    return [...this.board.shots.values()].filter(isOpen).length;
  }

  get isFull() {
    return this.unmade >= this.model.limits.queue;
  }

  /** @returns {Shot | undefined} */
  get making() {
    return [...this.board.shots.values()].find((shot) => shot.state === "making");
  }

  /** @param {api.Key} key */
  async open(key) {
    this.story = await api.readStory(key);
    this.key = key;
    this.film.key = key;
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
    const shot = this.board.shots.get(event.shot);
    if (event.event === "making" && shot) this.spoken = `Shot ${shot.number + 1} is being made`;
    if (event.event === "done" && shot) this.spoken = `Shot ${shot.number + 1} is done`;
    this.onChange();
  }

  /** @param {any} facts @param {ArrayBuffer} film */
  takeChunk(facts, film) {
    if (facts.waited !== undefined) this.firstFrames = facts.waited;
    // From the shot's beginning: two chunks that come at once say nothing about their making.
    this.pace.frames += facts.frames;
    const seconds = (performance.now() - this.pace.since) / 1000;
    if (this.pace.since) this.rate = this.pace.frames / seconds;
    this.film.keep(facts.shot, facts.chunk, film);
    this.board = applyEvent(this.board, { event: "chunk", ...facts });
    this.onFilm();
    this.onChange();
  }

  /** A shot's place in seconds. @param {Shot} shot */
  startOf(shot) {
    return this.film.startOf(this.board, shot);
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

  /** What Enter does. @param {string} caption @param {Mode} mode @param {Choices} choices */
  async submit(caption, mode, choices) {
    const key = this.key;
    if (!key) return;
    const shot = mode.kind === "next" ? null : (this.board.shots.get(mode.shot) ?? null);
    if (shot && mode.kind === "tell" && isOpen(shot)) {
      const before = shot.cues.at(-1)?.caption ?? shot.caption;
      await api.retellShot(key, shot.id, { caption, again: true });
      this.history?.add({ kind: "tell", shot: shot.id, before, after: caption });
      this.tell(shot.state === "making" ? "The shot turns at its next chunk" : "Changed");
    } else if (shot && mode.kind === "fork") await this.ask({ caption, ...choices, parent: shot.id });
    else if (shot) await this.ask({ caption, ...choices, parent: shot.parent });
    else await this.ask({ caption, ...choices });
  }

  /** @param {api.Wish} wish */
  async ask(wish) {
    if (!this.key) return null;
    const before = this.board.head;
    const shot = await api.askForShot(this.key, { pins: this.pins, ...wish });
    this.pins = [];
    this.history?.add({ kind: "ask", shot: shot.id, ...wishOf(shot), before });
    return shot.id;
  }

  /** @param {Shot} shot */
  anotherTake(shot) {
    const { caption, parent, pins, frames, styles } = shot;
    return this.ask({ caption, parent, pins, frames, styles });
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
    if (shot.state === "done") this.history?.add({ kind: "hide", shot: shot.id, before });
    else this.tell(`Cancelled: ${shot.caption}`);
    if (this.selected === shot.id) this.selected = null;
  }

  /** @param {string} title */
  async name(title) {
    const before = this.board.title;
    if (!this.key || title === before) return;
    await api.changeStory(this.key, { title });
    this.history?.add({ kind: "title", before, after: title });
  }

  async undo() {
    const step = await this.history?.undo((done) => turn(this, done, false));
    this.tell(step ? `Undone: ${NAMES[step.kind]}` : "Nothing to undo");
  }

  async redo() {
    const step = await this.history?.redo((done) => turn(this, done, true));
    this.tell(step ? `Done again: ${NAMES[step.kind]}` : "Nothing to redo");
  }
}

/** Whether a shot is still to be made, all or some of it. @param {Shot} shot */
export function isOpen(shot) {
  return shot.state === "queued" || shot.state === "making";
}

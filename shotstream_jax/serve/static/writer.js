// The line that is written: its text, what the model makes of it, and what is chosen beside it.

import * as api from "./api.js";
import * as shelf from "./shelf.js";
import { isOpen } from "./studio.js";
import { completion } from "./words.js";

/** @typedef {import("./page.js").Page} Page */
/** @typedef {import("./events.js").Shot} Shot */

const NO_NOTES = { unknown: [], swallowed: "", cut: 0 };
const PAUSE = 300; // milliseconds without a key before a prompt is checked
const ABOUT = "A cartoon about a green frog and a tall giraffe, in the meadow and on the beach.";
const LENGTHS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]; // chunks

/** @returns {any} */
const prompt = () => document.getElementById("prompt");

export class Writer {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    const { words, examples, memory, styles } = page.studio.model;
    this.known = new Set(words.map((/** @type {string} */ word) => word.toLowerCase()));
    this.example = examples[0] ?? "What the next shot shows";
    // Of a new story.
    this.about = words.length ? ABOUT : "";
    this.memory = memory;
    /** @type {import("./studio.js").Mode} */
    this.mode = { kind: "next" };
    this.text = "";
    this.rest = "";
    /** @type {import("./words.js").Notes} */
    this.notes = NO_NOTES;
    /** Latent frames of the next shot; null: as long as usual. @type {number | null} */
    this.frames = null;
    /** @type {Record<string, number>} */
    this.strengths = {};
    for (const { name, strength } of styles) this.strengths[name] = strength;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.checking = undefined;
  }

  /** @param {string} text */
  write(text) {
    this.text = text;
    if (prompt()) prompt().value = text;
    this.rest = completion(text, this.page.studio.model.words);
    this.checkSoon();
    this.page.later();
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
    const about = this.page.studio.story?.global_caption ?? this.about;
    // A prompt that cannot be checked now is checked when it is sent.
    const notes = await api.checkPrompt(text || this.example, about).catch(() => NO_NOTES);
    if (text === this.text) this.notes = text ? notes : { ...NO_NOTES, swallowed: notes.swallowed };
    this.page.later();
  }

  /** @param {string} example */
  useExample(example) {
    this.write(example);
    prompt().focus();
  }

  /** The rest of the word that is begun; false if there is none. */
  complete() {
    if (!this.rest) return false;
    this.write(`${this.text + this.rest} `);
    return true;
  }

  // What is chosen.

  /** Lengths that a shot can have, in latent frames, with their seconds. */
  get lengths() {
    const { chunk, limits, video } = this.page.studio.model;
    const usual = 1 + (video.shot_frames - video.first_chunk) / video.later_chunk;
    const chunks = [...new Set([...LENGTHS, usual])].sort((a, b) => a - b);
    const fitting = chunks.filter((count) => count * chunk <= limits.shot_frames);
    return fitting.map((count) => {
      const frames = count === usual ? null : count * chunk;
      return { frames, seconds: this.page.studio.film.seconds(count) };
    });
  }

  /** The next longer length, or the next shorter one. @param {number} by 1 or -1 */
  lengthen(by) {
    const { lengths } = this;
    const at = lengths.findIndex(({ frames }) => frames === this.frames);
    this.frames = lengths[Math.min(lengths.length - 1, Math.max(0, at + by))].frames;
    this.page.later();
    return true;
  }

  /** @param {string} name of a style @param {number} strength */
  setStrength(name, strength) {
    this.strengths = { ...this.strengths, [name]: strength };
    this.page.later();
  }

  /** @param {"fork" | "remake" | "tell"} kind @param {Shot} shot */
  setMode(kind, shot) {
    this.mode = { kind, shot: shot.id };
    this.write(kind === "fork" ? "" : (shot.cues.at(-1)?.caption ?? shot.caption));
    if (kind === "remake") {
      this.frames = shot.frames;
      this.strengths = { ...this.strengths, ...shot.styles };
    }
    prompt().focus();
  }

  /** Other words for a shot: one that is made is made once more. @param {Shot} shot */
  reword(shot) {
    this.setMode(isOpen(shot) ? "tell" : "remake", shot);
  }

  leaveMode() {
    this.mode = { kind: "next" };
    this.write("");
  }

  // Enter.

  /** @param {Event} event */
  submit(event) {
    event.preventDefault();
    const caption = this.text.trim();
    const { mode } = this;
    const { studio } = this.page;
    if (!caption || (studio.isFull && mode.kind !== "tell")) return;
    const choices = { frames: this.frames, styles: this.strengths };
    // The line is free for the next prompt at once; a refused one comes back.
    this.leaveMode();
    return this.page.act(async () => {
      try {
        if (!studio.key) await this.begin();
        await studio.submit(caption, mode, choices);
        this.page.await();
      } catch (problem) {
        if (!this.text) {
          this.mode = mode;
          this.write(caption);
        }
        throw problem;
      }
    });
  }

  /** The story itself. */
  async begin() {
    const { about, memory } = this;
    const made = await api.makeStory({ global_caption: about.trim(), memory });
    shelf.open(made);
    await this.page.studio.open(made);
  }
}

// The page: it writes down what the person asks for, and shows what the server makes of it.

import { keysView, storiesView } from "./dialogs.js";
import { Files } from "./files.js";
import { headerView } from "./header.js";
import { panelView } from "./panel.js";
import { Player } from "./player.js";
import { promptView } from "./prompt.js";
import * as shelf from "./shelf.js";
import { stageView, transportView } from "./stage.js";
import { COLUMN, stripView } from "./strip.js";
import { Studio } from "./studio.js";
import { render } from "./vendor/lit-html.js";
import { Writer } from "./writer.js";

/** @typedef {import("./events.js").Shot} Shot */

/** @param {string} id @returns {any} */
const element = (id) => document.getElementById(id);

export class Page {
  /** @param {any} model */
  constructor(model) {
    /** @type {HTMLVideoElement} */
    this.video = element("film");
    this.studio = new Studio(model, () => this.later(), () => this.lengthen());
    this.player = new Player(this.video, (problem) => this.studio.tell(problem, true));
    this.writer = new Writer(this);
    this.files = new Files(this);
    this.isRefused = false;
    /** @type {string | null} */
    this.playing = null;
    /** @type {string | null} */
    this.awaited = null;
    this.isDrawing = false;
    /** What the strip was last drawn with. @type {unknown[]} */
    this.drawn = [];
    /** The story that is about to be removed. @type {string | null} */
    this.removing = null;
    this.named = "";
    for (const event of ["timeupdate", "play", "pause", "seeked"]) {
      this.video.addEventListener(event, () => this.later());
    }
    element("strip").addEventListener("scroll", () => this.later());
  }

  /** The shot that Tab leads to. */
  get tabShot() {
    const { studio } = this;
    const selected = studio.branch.find((shot) => shot.id === studio.selected);
    return selected?.id ?? studio.branch.at(-1)?.id ?? null;
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

  /** Gives the player the film as it is now. */
  lengthen() {
    const pieces = this.studio.film.timeline(this.studio.board);
    this.player.setTimeline(pieces);
    return pieces;
  }

  draw() {
    const { studio } = this;
    const pieces = this.lengthen();
    const now = this.video.currentTime;
    const piece = pieces.find(({ end }) => end > now) ?? pieces.at(-1);
    this.playing = piece ? piece.name.split(" ")[0] : null;
    this.showAwaited();
    document.body.classList.toggle("watching", !studio.isOwner);
    document.body.classList.toggle("chosen", studio.isOwner && Boolean(studio.selected));
    render(headerView(this), element("header"));
    render(stageView(this), element("over"));
    render(transportView(this), element("transport"));
    render(studio.isOwner ? promptView(this) : "", element("ask"));
    this.scrollMarks();
    render(panelView(this), element("panel"));
    this.drawStrip();
    this.say("note", studio.note);
    this.say("spoken", studio.spoken);
    element("note").classList.toggle("bad", studio.isProblem);
    this.nameStory();
  }

  /** The strip, which may have a thousand shots, only if something of it has changed. */
  drawStrip() {
    const { board, selected, film } = this.studio;
    const place = Math.round(element("strip").scrollLeft / COLUMN / 2);
    const state = [board.shots, board.head, board.role, selected, this.playing, film.shown, place, innerWidth];
    if (state.every((value, i) => value === this.drawn[i])) return;
    this.drawn = state;
    render(stripView(this), element("strip"));
  }

  /** A screen reader speaks what changes, and only then. @param {string} id @param {string} text */
  say(id, text) {
    if (element(id).textContent !== text) element(id).textContent = text;
  }

  /** The marks stay under their words in a line that is longer than its field. */
  scrollMarks() {
    const field = element("prompt");
    if (field) field.previousElementSibling.scrollLeft = field.scrollLeft;
  }

  /** Own stories are listed by their titles, or by their first words. */
  nameStory() {
    const { key, board, isOwner } = this.studio;
    const title = board.title || [...board.shots.values()][0]?.caption || "";
    if (!key || !board.role || !isOwner || !title || title === this.named) return;
    this.named = title;
    shelf.name(key, title);
  }

  /** @param {() => unknown} act */
  act(act) {
    this.studio.note = "";
    return this.studio.try(async () => act());
  }

  // Playing.

  /** The shot that was asked for last is shown as soon as there is some of it. */
  await() {
    const step = this.studio.history?.done.at(-1);
    this.awaited = step?.kind === "ask" ? step.shot : null;
  }

  showAwaited() {
    const shot = this.awaited && this.studio.board.shots.get(this.awaited);
    const start = shot ? this.studio.startOf(shot) : null;
    if (!shot || start === null) return;
    this.awaited = null;
    const { video } = this;
    // A film that runs towards it goes on; one that stands, or is far back, goes there.
    if (video.paused || start - video.currentTime > 3) this.seek(start);
    this.play(true);
    this.showCard(shot.number);
  }

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

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else element("stage").requestFullscreen?.();
  }

  // Choosing shots.

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
    element("strip").querySelector(`[data-shot="${shot.id}"]`)?.focus({ preventScroll: true });
    this.showCard(shot.number);
  }

  unpick() {
    this.studio.selected = null;
    this.later();
  }

  /** Scrolls the film strip to a shot. @param {number} number */
  showCard(number) {
    const strip = element("strip");
    const left = number * COLUMN;
    const isSeen = left >= strip.scrollLeft && left + COLUMN <= strip.scrollLeft + strip.clientWidth;
    if (!isSeen) strip.scrollLeft = left - strip.clientWidth / 2;
  }

  /** Whether a shot's card is in sight, or nearly so. @param {number} number */
  isNear(number) {
    const { scrollLeft, clientWidth } = element("strip");
    return Math.abs(number * COLUMN - scrollLeft - clientWidth / 2) < clientWidth + 4 * COLUMN;
  }

  /** The chosen shot, or the one on the screen. @returns {Shot | null} */
  get chosen() {
    const id = this.studio.selected ?? this.playing;
    return (id && this.studio.board.shots.get(id)) || null;
  }

  /** A shot becomes the head, and is played. @param {Shot} shot */
  async goTo(shot) {
    this.studio.selected = shot.id;
    await this.studio.goTo(shot.id);
    this.awaited = shot.made ? shot.id : null;
  }

  // Stories and dialogs.

  /** @param {import("./api.js").Key} key @param {string} [title] */
  openStory(key, title) {
    shelf.open(key, title);
    this.startWith("");
  }

  startAnew() {
    shelf.close();
    this.startWith("");
  }

  /** Loads the page again. @param {string} fragment */
  startWith(fragment) {
    history.replaceState(null, "", `/${fragment}`);
    location.reload();
  }

  /** @param {"keys" | "stories"} id */
  toggle(id) {
    const dialog = element(id);
    this.removing = null;
    this.drawDialog(id);
    if (dialog.open) dialog.close();
    else dialog.showModal();
  }

  /** @param {"keys" | "stories"} id */
  drawDialog(id) {
    render(id === "keys" ? keysView(this) : storiesView(this), element(id));
  }

  /** Removing takes a second click. @param {shelf.Kept | null} story @param {boolean} [isSure] */
  async removeStory(story, isSure = false) {
    this.removing = story && !isSure ? story.id : null;
    if (story && isSure) await this.files.remove(story);
    this.drawDialog("stories");
  }
}

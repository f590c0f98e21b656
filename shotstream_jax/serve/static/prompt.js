// What is written: the story's subject, the next shot, and what is chosen for it.

import { icon } from "./icons.js";
import { html, nothing } from "./vendor/lit-html.js";
import { endOfSeen, pieces, unknownWords } from "./words.js";

/** @typedef {import("./page.js").Page} Page */
/** @typedef {import("./studio.js").Studio} Studio */

/** How a story remembers, in people's words. @type {Record<string, string>} */
export const MEMORIES = {
  paper: "the latest shots",
  caption: "shots with like words",
  keys: "shots that look alike",
};
const LABELS = { next: "Next shot", fork: "Fork after", remake: "Other words for", tell: "Re-tell" };

/** @param {Page} page */
export function promptView(page) {
  const { studio, writer } = page;
  const { mode, text } = writer;
  const shot = mode.kind === "next" ? null : studio.board.shots.get(mode.shot);
  const label = shot ? `${LABELS[mode.kind]} shot ${shot.number + 1}` : LABELS.next;
  const isFull = studio.isFull && mode.kind !== "tell";
  return html`${studio.key || studio.connection === "connecting" ? nothing : aboutView(page)}
    <form class="line ${mode.kind}" @submit=${(/** @type {Event} */ event) => writer.submit(event)}>
      <label for="prompt">${label}</label>
      ${fieldView(page)}
      ${mode.kind === "next" ? nothing : html`<button type="button" @click=${() => writer.leaveMode()}>Leave <kbd>Esc</kbd></button>`}
      ${studio.making && mode.kind === "next"
        ? html`<button type="button" @click=${() => page.act(() => studio.cut())}>Cut <kbd>Esc</kbd></button>`
        : nothing}
      <button class="primary" aria-disabled=${!text.trim() || isFull}>${mode.kind === "tell" ? "Turn it" : "Make it"}</button>
    </form>
    <p id="words" class="words" role="status">${hints(page, isFull)}</p>
    <div class="choices">${mode.kind === "tell" ? nothing : choicesView(page)}
      ${text || mode.kind !== "next" ? nothing : examplesView(page)}</div>`;
}

/** Of a new story. @param {Page} page */
function aboutView(page) {
  const { writer } = page;
  const { memories } = page.studio.model;
  return html`<div class="about"><label for="about">The story is about</label>
    <input id="about" maxlength="2000" class=${writer.notes.swallowed ? "bad" : ""} aria-describedby="words"
      .value=${writer.about} @input=${(/** @type {any} */ event) => writer.writeAbout(event.target.value)} />
    <label for="memory">and remembers</label>
    <select id="memory" @change=${(/** @type {any} */ event) => (writer.memory = event.target.value)}>
      ${memories.map((/** @type {string} */ rule) =>
        html`<option value=${rule} ?selected=${rule === writer.memory}>${MEMORIES[rule]}</option>`)}
    </select></div>`;
}

/** The line itself, over marks for what the model does not know or see. @param {Page} page */
function fieldView(page) {
  const { writer } = page;
  const { text, known } = writer;
  // Tokens are words and signs only where the model has a list of words.
  const seen = known.size ? endOfSeen(text, writer.notes.cut) : text.length;
  return html`<div class="field">
    <div class="mirror" aria-hidden="true">${pieces(text.slice(0, seen), known).map((piece) =>
      piece.isUnknown ? html`<mark>${piece.text}</mark>` : html`<span>${piece.text}</span>`,
    )}<s>${text.slice(seen)}</s><span class="rest">${writer.rest}</span></div>
    <input id="prompt" autocomplete="off" maxlength="2000" aria-describedby="words"
      placeholder=${writer.example} .value=${text}
      @input=${(/** @type {any} */ event) => writer.write(event.target.value)} />
  </div>`;
}

/** Length, styles and pictures of the next shot. @param {Page} page */
function choicesView(page) {
  const { studio, writer, files } = page;
  const lengths = writer.lengths.map(({ frames, seconds }) => {
    const name = `${seconds.toFixed(1)} s${frames ? "" : " (usual)"}`;
    return html`<option value=${frames ?? ""} ?selected=${frames === writer.frames}>${name}</option>`;
  });
  const isOwn = writer.frames !== null;
  return html`<label class="choice ${isOwn ? "own" : ""}" title="Length of the shot">${icon("clock")}<span class="unseen">Length</span>
      <select id="length" .value=${String(writer.frames ?? "")}
        @change=${(/** @type {any} */ event) => {
          writer.frames = Number(event.target.value) || null;
          page.later();
        }}>${lengths}</select></label>
    ${studio.model.styles.map((/** @type {any} */ style) => styleView(page, style))}
    ${studio.pins.map((pin, i) => html`<button class="chip own" aria-label="Remove this pin: ${pinName(studio, pin)}"
      @click=${() => files.unpin(i)}>${icon(pin.picture ? "picture" : "pin")}${pinName(studio, pin)}${icon("close")}</button>`)}
    <button class="chip" @click=${() => files.choose("picture-file")}>${icon("picture")}Picture</button>`;
}

/** How strong a style is in the next shot. @param {Page} page @param {{name: string, strength: number}} style */
function styleView(page, { name, strength }) {
  const { writer } = page;
  const now = writer.strengths[name];
  const isOwn = now !== strength;
  return html`<label class="choice style ${isOwn ? "own" : ""}" title="Strength of the style ${name}">${name}
    <input type="range" min="0" max=${Math.max(1.5, strength)} step="0.05" .value=${String(now)}
      aria-label="Strength of the style ${name}"
      @input=${(/** @type {any} */ event) => writer.setStrength(name, Number(event.target.value))} />
    <output>${now.toFixed(2)}</output></label>`;
}

/** @param {Page} page */
function examplesView(page) {
  return html`<div class="examples" role="group" aria-label="Examples">${page.studio.model.examples.map((/** @type {string} */ example) =>
    html`<button class="chip" @click=${() => page.writer.useExample(example)}>${example}</button>`)}</div>`;
}

/** What there is to know before Enter. @param {Page} page @param {boolean} isFull */
function hints(page, isFull) {
  const { studio, writer } = page;
  const { notes, known, text } = writer;
  const unknown = known.size ? unknownWords(text, known) : notes.unknown;
  return [
    isFull
      ? html`<span>The queue is full (${studio.unmade} shots). Wait until one is done, or cancel one below.</span>`
      : nothing,
    unknown.length
      ? html`<span>The model does not know <b>${unknown.join(", ")}</b> and will guess.</span>`
      : nothing,
    notes.cut
      ? html`<span>Too long: the model will not see the end (${notes.cut} tokens).</span>`
      : nothing,
    notes.swallowed && !studio.key
      ? html`<span>End what the story is about with a full stop, or <b>${notes.swallowed}</b> is lost.</span>`
      : nothing,
  ];
}

/** @param {Studio} studio @param {import("./events.js").Pin} pin */
export function pinName(studio, pin) {
  if (pin.picture) return "picture";
  const shot = pin.shot && studio.board.shots.get(pin.shot);
  return shot ? `shot ${shot.number + 1}, frame ${(pin.frame ?? 0) + 1}` : "frame";
}

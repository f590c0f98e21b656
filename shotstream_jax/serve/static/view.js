// What the page looks like: templates of what the studio knows.

import { treeView } from "./tree.js";
import { html, nothing } from "./vendor/lit-html.js";
import { endOfSeen, pieces, unknownWords } from "./words.js";

/** @typedef {import("./studio.js").Studio} Studio */
/** @typedef {import("./events.js").Shot} Shot */
/** @typedef {import("./main.js").Page} Page */

export const KEYS = [
  ["Enter", "make the shot"],
  ["Tab or →", "take the rest of the word"],
  ["Esc", "cut the shot in the making; leave a change"],
  ["Space", "play, pause"],
  ["← →", "shot before, after"],
  ["N", "write the next shot"],
  ["D", "another take"],
  ["E", "other words, from here"],
  ["B", "go back here"],
  ["F", "fork here"],
  ["P", "pin the picture"],
  ["Delete", "put the shot away"],
  ["Ctrl Z", "undo"],
  ["Ctrl Shift Z", "redo"],
  ["?", "these keys"],
];

/** @type {Record<string, [string, string]>} */
const CONNECTIONS = {
  none: ["", ""],
  open: ["Live", "good"],
  connecting: ["Connecting …", "wait"],
  lost: ["Reconnecting. Nothing is lost …", "wait"],
  full: ["Too many are watching. Tries again by itself …", "wait"],
  restarting: ["The server restarts. It goes on by itself …", "wait"],
  refused: ["This story cannot be opened here", "bad"],
};

/** @param {Page} page */
export function headerView(page) {
  const { studio } = page;
  const [text, kind] = CONNECTIONS[studio.connection];
  const isOpen = Boolean(studio.key);
  return html`<div class="brand"><span class="mark" aria-hidden="true"></span><h1>ShotStream</h1></div>
    ${isOpen
      ? html`<input class="title" aria-label="Title of the story" placeholder="Untitled story"
          maxlength="200" ?readonly=${!studio.isOwner} .value=${studio.board.title}
          @change=${(/** @type {any} */ event) => page.act(() => studio.name(event.target.value))} />`
      : html`<span class="title"></span>`}
    <span class="connection ${kind}" role="status">${text}</span>
    <div class="tools">
      ${isOpen && studio.isOwner
        ? html`${tool("↶", "Undo", () => page.act(() => studio.undo()), !studio.history?.done.length)}
            ${tool("↷", "Redo", () => page.act(() => studio.redo()), !studio.history?.undone.length)}`
        : nothing}
      <details class="menu"><summary>Story</summary><div>
        ${isOpen
          ? html`<button @click=${() => page.save("/video", "mp4")}>Export film (mp4)</button>
              <button @click=${() => page.save("/archive", "zip")}>Save story file</button>`
          : nothing}
        <button @click=${() => page.chooseFile("story-file")}>Open story file …</button>
        ${studio.share ? html`<button @click=${() => page.copyLink()}>Copy link to watch</button>` : nothing}
        ${isOpen ? html`<button @click=${() => page.startAnew()}>New story</button>` : nothing}
      </div></details>
      ${tool("?", "Keys", () => page.toggleKeys())}
    </div>`;
}

/** @param {string} sign @param {string} name @param {() => void} act @param {boolean} [isOff] */
function tool(sign, name, act, isOff = false) {
  return html`<button class="tool" aria-label=${name} title=${name} ?disabled=${isOff} @click=${act}>
    <span aria-hidden="true">${sign}</span></button>`;
}

/** What lies over the film. @param {Page} page */
export function stageView(page) {
  const { studio } = page;
  const making = studio.making;
  if (studio.connection === "refused") {
    return html`<div class="cover"><p>This story is not here, or the link does not open it.</p>
      <button @click=${() => page.startAnew()}>Start a story</button></div>`;
  }
  if (!studio.branch.some((shot) => shot.made)) {
    const isWaiting = studio.branch.length > 0;
    return html`<div class="cover"><p class="large">${isWaiting ? "The first frames come …" : "Write the first shot."}</p>
      ${isWaiting ? nothing : html`<p>It plays while it is made. What you write next goes on from there.</p>`}</div>`;
  }
  return html`${making ? html`<span class="badge">● making shot ${making.number + 1}</span>` : nothing}
    ${page.isRefused ? html`<button class="big-play" aria-label="Play" @click=${() => page.play()}>▶</button>` : nothing}`;
}

/** @param {Page} page */
export function transportView(page) {
  const { studio, video } = page;
  const end = page.player.end;
  const stats = studio.board.stats;
  const queued = [...studio.board.shots.values()].filter((shot) => shot.state === "queued").length;
  return html`<button class="tool" aria-label=${video.paused ? "Play" : "Pause"} @click=${() => page.play()}>
      <span aria-hidden="true">${video.paused ? "▶" : "❚❚"}</span></button>
    <div class="scrub">${cutMarks(studio, end)}
      <input type="range" aria-label="Place in the film, in seconds" min="0" max=${Math.max(end, 0.01)} step="0.01"
        .value=${String(Math.min(video.currentTime, end))} ?disabled=${!end}
        @input=${(/** @type {any} */ event) => page.seek(Number(event.target.value))} /></div>
    <span class="time">${clock(video.currentTime)} / ${clock(end)}</span>
    <dl class="figures">
      <div><dt>frames/s</dt><dd>${studio.rate ? studio.rate.toFixed(0) : "–"}</dd></div>
      <div><dt>first frames</dt><dd>${studio.firstFrames ? `${Math.round(studio.firstFrames * 1000)} ms` : "–"}</dd></div>
      <div><dt>queue</dt><dd>${queued}${stats?.ahead ? ` (${stats.ahead} before)` : ""}</dd></div>
    </dl>`;
}

/** Where one shot ends and the next begins. @param {Studio} studio @param {number} end */
function cutMarks(studio, end) {
  const starts = studio.branch.map((shot) => studio.startOf(shot)).filter(Boolean);
  if (!starts.length) return nothing;
  const lines = starts.map((start) => `M${start} 0V1`).join("");
  return html`<svg class="cuts" aria-hidden="true" viewBox="0 0 ${end} 1" preserveAspectRatio="none">
    <path d=${lines} /></svg>`;
}

/** @param {number} seconds */
function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

/** @param {Page} page */
export function promptView(page) {
  const { studio, text } = page;
  const mode = studio.mode;
  const shot = mode.kind === "next" ? null : studio.board.shots.get(mode.shot);
  const names = { next: "Next shot", fork: "Fork after", remake: "Other words for", tell: "Re-tell" };
  const label = shot ? `${names[mode.kind]} shot ${shot.number + 1}` : names.next;
  const isFull = studio.isFull && mode.kind !== "tell";
  // Tokens are words and signs only where the model has a list of words.
  const seen = page.known.size ? endOfSeen(text, page.notes.cut) : text.length;
  return html`${studio.key ? nothing : html`<label class="about">The story is about
      <input id="about" maxlength="2000" class=${page.notes.swallowed ? "bad" : ""} aria-describedby="words"
        .value=${page.about} @input=${(/** @type {any} */ event) => page.writeAbout(event.target.value)} /></label>`}
    <form class="line ${mode.kind}" @submit=${(/** @type {Event} */ event) => page.submit(event)}>
      <label for="prompt">${label}</label>
      <div class="field">
        <div class="mirror" aria-hidden="true">${pieces(text.slice(0, seen), page.known).map((piece) =>
          piece.isUnknown ? html`<mark>${piece.text}</mark>` : html`<span>${piece.text}</span>`,
        )}<s>${text.slice(seen)}</s><span class="rest">${page.rest}</span></div>
        <input id="prompt" autocomplete="off" maxlength="2000" aria-describedby="words"
          placeholder=${page.example} .value=${text}
          @input=${(/** @type {any} */ event) => page.write(event.target.value)} />
      </div>
      <button class="primary" aria-disabled=${!text.trim() || isFull}>${mode.kind === "tell" ? "Turn it" : "Make it"}</button>
      ${mode.kind === "next" ? nothing : html`<button type="button" @click=${() => page.leaveMode()}>Leave</button>`}
      ${studio.making ? html`<button type="button" @click=${() => page.act(() => studio.cut())}>Cut <kbd>Esc</kbd></button>` : nothing}
    </form>
    <div class="below">
    <p id="words" class="words" role="status">${hints(page, isFull)}</p>
    <div class="chips">
      ${studio.pins.map((pin, i) => html`<button class="chip pin" aria-label="Remove this pin"
        @click=${() => page.unpin(i)}>📌 ${pinName(studio, pin)} ×</button>`)}
      ${text ? nothing : studio.model.examples.map((/** @type {string} */ example) =>
        html`<button class="chip" @click=${() => page.useExample(example)}>${example}</button>`)}
      <button class="chip" @click=${() => page.chooseFile("picture-file")}>+ Picture</button>
    </div></div>`;
}

/** What there is to know before Enter. @param {Page} page @param {boolean} isFull */
function hints(page, isFull) {
  const { studio, notes } = page;
  const unknown = page.known.size ? unknownWords(page.text, page.known) : notes.unknown;
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
function pinName(studio, pin) {
  if (pin.picture) return "picture";
  const shot = pin.shot && studio.board.shots.get(pin.shot);
  return shot ? `shot ${shot.number + 1}, frame ${(pin.frame ?? 0) + 1}` : "frame";
}

/** @param {Page} page */
export function stripView(page) {
  const { studio } = page;
  const shots = studio.branch;
  const tree = treeView(studio, (shot) => page.act(() => page.goTo(shot)));
  if (!shots.length) {
    return html`<div class="empty" aria-hidden="true">${[1, 2, 3, 4, 5].map((n) => html`<span>${n}</span>`)}</div>
      ${tree}`;
  }
  return html`${inspectorView(page)}
    <ol class="cards" aria-label="Shots of this film">${shots.map((shot) => cardView(page, shot))}</ol>${tree}`;
}

/** @param {Page} page @param {Shot} shot */
function cardView(page, shot) {
  const { studio } = page;
  const isSelected = studio.selected === shot.id;
  const takes = takesOf(studio, shot);
  const caption = shot.cues.at(-1)?.caption ?? shot.caption;
  const poster = studio.poster(shot);
  const state = shot.cut && shot.state === "done" ? "cut" : shot.state;
  return html`<li class="card ${state} ${page.playing === shot.id ? "playing" : ""}">
    <button class="face" data-shot=${shot.id} aria-pressed=${isSelected} tabindex=${page.tabShot === shot.id ? 0 : -1}
      title="Replay" @click=${() => page.pick(shot)}>
      <span class="picture">${poster ? html`<img src=${poster} alt="" />` : nothing}
        <span class="number"><span class="unseen">Shot </span>${shot.number + 1}</span>${state === "done" ? nothing : html`<span class="state">${state}</span>`}</span>
      <span class="caption">${caption}</span></button>
    ${shot.state === "making" ? html`<progress aria-label="Chunks made" max=${shot.chunks} .value=${shot.made}></progress>` : nothing}
    ${takes.length > 1 ? html`<div class="takes" role="group" aria-label="Takes of shot ${shot.number + 1}">${takes.map((take) =>
      html`<button aria-pressed=${take.id === shot.id} aria-label=${`Take ${take.take + 1}`}
        @click=${() => page.act(() => page.goTo(take))}>${take.take + 1}</button>`)}</div>` : nothing}
    ${shot.state === "queued" && studio.isOwner ? html`<button class="small" @click=${() => page.act(() => studio.putAway(shot))}>Cancel</button>` : nothing}
  </li>`;
}

/** @param {Studio} studio @param {Shot} shot */
function takesOf(studio, shot) {
  return [...studio.board.shots.values()].filter(
    (other) =>
      other.parent === shot.parent && other.caption === shot.caption && !other.hidden &&
      other.state !== "cancelled" && other.state !== "failed",
  );
}

/** What can be done with the chosen shot. @param {Page} page */
function inspectorView(page) {
  const { studio } = page;
  const shot = studio.selected && studio.board.shots.get(studio.selected);
  if (!shot || !studio.isOwner) return nothing;
  const isOpen = shot.state === "making" || shot.state === "queued";
  return html`<div class="inspector" role="toolbar" aria-label="Shot ${shot.number + 1}">
    <b>Shot ${shot.number + 1}</b>
    <button @click=${() => page.act(() => page.goTo(shot))}>Go back here <kbd>B</kbd></button>
    <button @click=${() => page.setMode("fork", shot)}>Fork here <kbd>F</kbd></button>
    <button @click=${() => page.act(() => studio.anotherTake(shot))}>Another take <kbd>D</kbd></button>
    <button @click=${() => page.setMode(isOpen ? "tell" : "remake", shot)}>${isOpen ? "Re-tell" : "Other words"} <kbd>E</kbd></button>
    <button ?disabled=${shot.state !== "done"} @click=${() => page.pin()}>Pin picture <kbd>P</kbd></button>
    <button @click=${() => page.act(() => studio.putAway(shot))}>${isOpen ? "Cancel" : "Put away"} <kbd>Del</kbd></button>
  </div>`;
}

/** @param {Page} page */
export function keysView(page) {
  return html`<h2>Keys</h2><dl>${KEYS.map(([key, what]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${what}</dd></div>`)}</dl>
    <button @click=${() => page.toggleKeys()}>Close</button>`;
}

// The line at the top: the story's title, the line to the server, undo, the story's menu.

import { icon } from "./icons.js";
import { html, nothing } from "./vendor/lit-html.js";

/** @typedef {import("./page.js").Page} Page */

/** @type {Record<string, [string, string]>} */
const CONNECTIONS = {
  none: ["", ""],
  open: ["Live", "good"],
  connecting: ["Connecting …", "wait"],
  lost: ["Reconnecting …", "wait"],
  full: ["Too many are watching", "wait"],
  restarting: ["The server restarts", "wait"],
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
        ? html`${tool("undo", "Undo", () => page.act(() => studio.undo()), !studio.history?.done.length)}
            ${tool("redo", "Redo", () => page.act(() => studio.redo()), !studio.history?.undone.length)}`
        : nothing}
      ${menuView(page)}
      <button class="tool quiet" aria-label="Keys" title="Keys" @click=${() => page.toggle("keys")}>?</button>
    </div>`;
}

/** @param {Page} page */
function menuView(page) {
  const { studio, files } = page;
  return html`<details class="menu"><summary>Story ${icon("more")}</summary><div>
      ${studio.key
        ? html`<button @click=${() => files.save("/video", "mp4")}>Export film (mp4)</button>
            <button @click=${() => files.save("/archive", "zip")}>Save story file</button>`
        : nothing}
      ${studio.story?.share ? html`<button @click=${() => files.copyLink()}>Copy link to watch</button>` : nothing}
      <button @click=${() => files.choose("story-file")}>Open story file …</button>
      <hr />
      <button @click=${() => page.toggle("stories")}>Your stories … <kbd>O</kbd></button>
      ${studio.key ? html`<button @click=${() => page.startAnew()}>New story</button>` : nothing}
    </div></details>`;
}

/** @param {import("./icons.js").IconName} sign @param {string} name @param {() => void} act @param {boolean} [isOff] */
export function tool(sign, name, act, isOff = false) {
  return html`<button class="tool quiet" aria-label=${name} title=${name} ?disabled=${isOff} @click=${act}>
    ${icon(sign)}</button>`;
}

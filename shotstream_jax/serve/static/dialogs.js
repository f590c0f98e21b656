// Keys, and the stories of this browser.

import { icon } from "./icons.js";
import * as shelf from "./shelf.js";
import { html, nothing } from "./vendor/lit-html.js";

/** @typedef {import("./page.js").Page} Page */

/** @type {[string, [string, string][]][]} */
export const KEYS = [
  ["While writing", [
    ["Enter", "make the shot"],
    ["Tab or →", "take the rest of the word"],
    ["Alt ↑ ↓", "longer, shorter"],
    ["Esc", "leave a change; else cut the shot in the making"],
  ]],
  ["The film", [
    ["Space", "play, pause"],
    ["← →", "shot before, after"],
    ["N", "write the next shot"],
    ["L", "its length"],
    ["O", "your stories"],
  ]],
  ["The chosen shot", [
    ["D", "another take"],
    ["E", "other words, from here"],
    ["F", "fork here"],
    ["B", "go back here"],
    ["P", "pin the picture"],
    ["Delete", "put it away"],
  ]],
  ["Everywhere", [
    ["Ctrl Z", "undo"],
    ["Ctrl Shift Z", "redo"],
    ["?", "these keys"],
    ["← → ↑ ↓ Enter", "in the tree: go about, go there"],
  ]],
];

/** @param {Page} page */
export function keysView(page) {
  return html`${headView("Keys", () => page.toggle("keys"))}
    <div class="groups">${KEYS.map(([group, keys]) => html`<section><h3>${group}</h3><dl>${keys.map(([key, what]) =>
      html`<div><dt><kbd>${key}</kbd></dt><dd>${what}</dd></div>`)}</dl></section>`)}</div>`;
}

/** @param {Page} page */
export function storiesView(page) {
  const stories = shelf.stories();
  return html`${headView("Your stories", () => page.toggle("stories"))}
    ${stories.length
      ? html`<ul class="stories">${stories.map((story) => storyView(page, story))}</ul>`
      : html`<p class="hint">Stories that you write or open in this browser are listed here.</p>`}
    <div class="ways"><button class="primary" @click=${() => page.startAnew()}>New story</button>
      <button @click=${() => page.files.choose("story-file")}>Open story file …</button></div>
    <p class="hint">Only this browser has the list. Save a story file to keep a story elsewhere.</p>`;
}

/** @param {Page} page @param {shelf.Kept} story */
function storyView(page, story) {
  const title = story.title || "Untitled story";
  const isNow = page.studio.key?.id === story.id;
  if (page.removing === story.id) {
    return html`<li class="removing"><p>Remove <b>${title}</b> and its film, for everyone? This cannot be undone.</p>
      <button class="danger" @click=${() => page.removeStory(story, true)}>Remove</button>
      <button @click=${() => page.removeStory(null)}>Keep</button></li>`;
  }
  const day = new Date(story.at).toLocaleDateString(undefined, { dateStyle: "medium" });
  return html`<li><button class="quiet open" aria-current=${isNow ? "true" : nothing} @click=${() => page.openStory(story)}>
      <b>${title}</b><span>${isNow ? "open" : day}</span></button>
    <button class="tool quiet" aria-label="Remove ${title}" title="Remove" @click=${() => page.removeStory(story)}>${icon("away")}</button></li>`;
}

/** @param {string} title @param {() => void} close */
function headView(title, close) {
  return html`<div class="head"><h2>${title}</h2>
    <button class="tool quiet" aria-label="Close" title="Close" @click=${close}>${icon("close")}</button></div>`;
}

// The film with what lies over it, and what plays it.

import { tool } from "./header.js";
import { icon } from "./icons.js";
import * as shelf from "./shelf.js";
import { html, nothing } from "./vendor/lit-html.js";

/** @typedef {import("./page.js").Page} Page */

const RECENT = 3; // stories that an empty page offers
const MOST_MARKS = 100; // more would be one black line
/** Why there is nothing to be seen. @type {Record<string, [string, string]>} */
const TROUBLE = {
  connecting: ["Opening the story …", ""],
  lost: ["Reconnecting …", "Nothing is lost. The page tries again by itself."],
  full: ["Too many are watching", "The page tries again by itself; it goes on when someone leaves."],
  restarting: ["The server restarts", "Nothing is lost. The story goes on by itself in a moment."],
};

/** What lies over the film. @param {Page} page */
export function stageView(page) {
  const { studio } = page;
  const { connection, making } = studio;
  if (connection === "refused") {
    return cover("This story is not here", "It was removed, or the link does not open it.", html`<div class="ways">
      <button @click=${() => page.startAnew()}>Start a story</button>
      <button @click=${() => page.toggle("stories")}>Your stories</button></div>`);
  }
  const isShown = studio.branch.some((shot) => shot.made);
  const trouble = TROUBLE[connection];
  if (!isShown && trouble && !studio.board.role) return cover(trouble[0], trouble[1]);
  if (!isShown && studio.branch.length) return cover("The first frames come …", "", html`<i class="busy"></i>`);
  if (!isShown) return emptyView(page);
  return html`${trouble && connection !== "connecting"
      ? html`<p class="banner">${trouble[0]}${trouble[1] ? html`<span>${trouble[1]}</span>` : nothing}</p>`
      : making ? html`<span class="badge">Making shot ${making.number + 1}</span>` : nothing}
    ${page.isRefused ? html`<button class="big-play" aria-label="Play" @click=${() => page.play()}>${icon("play")}</button>` : nothing}`;
}

/** @param {string} title @param {string} text @param {unknown} [more] */
function cover(title, text, more = nothing) {
  return html`<div class="cover"><p class="large">${title}</p>${text ? html`<p>${text}</p>` : nothing}${more}</div>`;
}

/** Nothing is made yet. @param {Page} page */
function emptyView(page) {
  const { key, isOwner } = page.studio;
  if (!isOwner) return cover("Nothing is made yet", "The film plays here as soon as its first shot is made.");
  const recent = key ? [] : shelf.stories().slice(0, RECENT);
  const ways = recent.map((story) => html`<button @click=${() => page.openStory(story)}>${story.title || "Untitled story"}</button>`);
  const more = ways.length ? html`<p class="or">or go on with</p><div class="ways">${ways}</div>` : nothing;
  return cover("Write the first shot.", "It plays while it is made. What you write next goes on from there.", more);
}

/** @param {Page} page */
export function transportView(page) {
  const { studio, video } = page;
  const end = page.player.end;
  const isOff = video.paused;
  const now = Math.min(video.currentTime, end);
  return html`${tool(isOff ? "play" : "pause", isOff ? "Play" : "Pause", () => page.play())}
    <span class="time">${clock(now)}</span>
    <div class="scrub">${cutMarks(studio, end)}
      <input type="range" aria-label="Place in the film, in seconds" min="0" max=${Math.max(end, 0.01)} step="0.01"
        .value=${String(now)} ?disabled=${!end}
        @input=${(/** @type {any} */ event) => page.seek(Number(event.target.value))} /></div>
    <span class="time">${clock(end)}</span>
    ${tool("full", "Full screen", () => page.fullScreen())}`;
}

/** Where one shot ends and the next begins. @param {import("./studio.js").Studio} studio @param {number} end */
function cutMarks(studio, end) {
  const starts = studio.branch.map((shot) => studio.startOf(shot)).filter(Boolean);
  if (!starts.length || starts.length > MOST_MARKS) return nothing;
  const lines = starts.map((start) => `M${start} 0V1`).join("");
  return html`<svg class="cuts" aria-hidden="true" viewBox="0 0 ${end} 1" preserveAspectRatio="none">
    <path d=${lines} /></svg>`;
}

/** @param {number} seconds */
export function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

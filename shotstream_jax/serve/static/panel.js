// What there is to know about the chosen shot and what can be done with it; else about the story.

import { icon } from "./icons.js";
import { MEMORIES, pinName } from "./prompt.js";
import { clock } from "./stage.js";
import { isOpen } from "./studio.js";
import { html, nothing } from "./vendor/lit-html.js";

/** @typedef {import("./page.js").Page} Page */
/** @typedef {import("./events.js").Shot} Shot */

/** @param {Page} page */
export function panelView(page) {
  const { studio } = page;
  const shot = studio.selected && studio.board.shots.get(studio.selected);
  const about = shot && studio.isOwner ? shotView(page, shot) : storyView(page);
  return html`${about}${figuresView(page)}`;
}

/** @param {Page} page @param {Shot} shot */
function shotView(page, shot) {
  const caption = shot.cues.at(-1)?.caption ?? shot.caption;
  return html`<div class="about-shot">
      <div class="head"><h2>Shot ${shot.number + 1}</h2>
        <button class="tool quiet" aria-label="Close" title="Close" @click=${() => page.unpick()}>${icon("close")}</button></div>
      <p class="said">${caption}</p>
      <dl class="facts">${facts(page, shot)}</dl>
    </div>
    ${actionsView(page, shot)}`;
}

/** @param {Page} page @param {Shot} shot */
function facts(page, shot) {
  const { studio } = page;
  const { film } = studio;
  /** @type {[string, string][]} */
  const rows = [["Take", String(shot.take + 1)]];
  if (shot.made) rows.unshift(["Length", `${film.seconds(shot.made).toFixed(1)} s${shot.cut ? ", cut" : ""}`]);
  if (shot.state !== "done") rows.unshift(["State", shot.state]);
  for (const { chunk, caption } of shot.cues.slice(0, -1)) rows.push([`From ${film.seconds(chunk).toFixed(1)} s`, caption]);
  if (shot.pins.length) rows.push(["Sees", shot.pins.map((pin) => pinName(studio, pin)).join("; ")]);
  for (const [name, strength] of Object.entries(shot.styles)) rows.push([name, strength.toFixed(2)]);
  return rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`);
}

/** @param {Page} page @param {Shot} shot */
function actionsView(page, shot) {
  const { studio, writer, files } = page;
  const isUnmade = isOpen(shot);
  return html`<div class="inspector" role="toolbar" aria-label="Shot ${shot.number + 1}" aria-orientation="vertical">
    ${action("take", "Another take", "D", () => page.act(() => studio.anotherTake(shot)))}
    ${action("words", isUnmade ? "Re-tell" : "Other words", "E", () => writer.reword(shot))}
    ${action("fork", "Fork here", "F", () => writer.setMode("fork", shot))}
    ${action("back", "Go back here", "B", () => page.act(() => page.goTo(shot)))}
    ${action("pin", "Pin picture", "P", () => files.pin(), shot.state !== "done")}
    ${action("away", isUnmade ? "Cancel" : "Put away", "Del", () => page.act(() => studio.putAway(shot)))}
  </div>`;
}

/** @param {import("./icons.js").IconName} sign @param {string} name @param {string} key @param {() => unknown} act @param {boolean} [isOff] */
function action(sign, name, key, act, isOff = false) {
  return html`<button class="quiet" ?disabled=${isOff} @click=${act}>${icon(sign)}<span>${name}</span><kbd>${key}</kbd></button>`;
}

/** @param {Page} page */
function storyView(page) {
  const { studio } = page;
  const { story, branch, board, isOwner } = studio;
  if (!story) return stepsView();
  /** @type {[string, string][]} */
  const rows = [["Remembers", MEMORIES[story.memory]]];
  // Before the first word of the server nothing is known of the shots.
  if (board.role) rows.unshift(["Shots", String(branch.length)], ["Film", clock(page.player.end)]);
  return html`<div class="about-story"><h2>${isOwner ? "Story" : "You are watching"}</h2>
    <p class="said">${story.global_caption || "About nothing in particular."}</p>
    <dl class="facts">${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    ${isOwner
      ? html`<p class="hint">Choose a shot in the strip to see what can be done with it.</p>`
      : html`<p class="hint">Only its writer can change this story.</p>
          <button @click=${() => page.startAnew()}>Write a story of your own</button>`}</div>`;
}

/** How it goes, before there is a story. */
function stepsView() {
  return html`<div class="about-story"><h2>How it goes</h2><ol class="steps">
    <li><b>Write a shot</b> and press <kbd>Enter</kbd>. It plays while it is made.</li>
    <li><b>Write on.</b> The next shot goes on from there; several can wait.</li>
    <li><b>Change your mind.</b> Other takes, other words, other ways on: nothing is overwritten.</li>
  </ol></div>`;
}

/** How the server does. @param {Page} page */
function figuresView(page) {
  const { rate, firstFrames, board } = page.studio;
  const queued = [...board.shots.values()].filter((shot) => shot.state === "queued").length;
  const ahead = board.stats?.ahead;
  return html`<dl class="figures">
    <div><dt>frames/s</dt><dd>${rate ? rate.toFixed(0) : "–"}</dd></div>
    <div><dt>first frames</dt><dd>${firstFrames ? `${Math.round(firstFrames * 1000)} ms` : "–"}</dd></div>
    <div><dt>${ahead ? `queue, ${ahead} before` : "queue"}</dt><dd>${queued}</dd></div>
  </dl>`;
}

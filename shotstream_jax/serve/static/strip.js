// The film strip: a card for each shot of the branch, and the tree of branches below it.

import { allTakes, takesName } from "./events.js";
import { COLUMN, treeView } from "./tree.js";
import { html, nothing } from "./vendor/lit-html.js";

/** @typedef {import("./page.js").Page} Page */
/** @typedef {import("./events.js").Shot} Shot */

export { COLUMN };

/** @param {Page} page */
export function stripView(page) {
  const { studio } = page;
  const shots = studio.branch;
  const tree = treeView(page);
  if (!shots.length) {
    return html`<div class="cards empty" aria-hidden="true">${[1, 2, 3, 4, 5, 6, 7, 8].map((n) => html`<span>${n}</span>`)}</div>
      ${tree}`;
  }
  const takes = allTakes(studio.board);
  return html`<ol class="cards" aria-label="Shots of this film">${shots.map((shot) =>
    cardView(page, shot, takes.get(takesName(shot)) ?? []))}</ol>${tree}`;
}

/** @param {Page} page @param {Shot} shot @param {Shot[]} takes */
function cardView(page, shot, takes) {
  const { studio } = page;
  const caption = shot.cues.at(-1)?.caption ?? shot.caption;
  const poster = page.isNear(shot.number) ? studio.film.poster(shot) : "";
  const state = shot.cut && shot.state === "done" ? "cut" : shot.state;
  const seconds = `${studio.film.seconds(shot.made).toFixed(1)} s`;
  return html`<li class="card ${state} ${page.playing === shot.id ? "playing" : ""}">
    <button class="face" data-shot=${shot.id} aria-pressed=${studio.selected === shot.id}
      tabindex=${page.tabShot === shot.id ? 0 : -1} title="Replay" @click=${() => page.pick(shot)}>
      <span class="picture">${poster ? html`<img src=${poster} alt="" />` : nothing}
        <span class="number"><span class="unseen">Shot </span>${shot.number + 1}</span>
        ${state === "done" ? nothing : html`<span class="state">${state}</span>`}
        ${shot.state === "done" ? html`<span class="length">${seconds}</span>` : nothing}
        ${shot.state === "making"
          ? html`<progress aria-label="Chunks made" max=${shot.chunks} .value=${shot.made}></progress>`
          : nothing}</span>
      <span class="caption">${caption}</span></button>
    ${takes.length > 1 ? takesView(page, shot, takes) : nothing}
    ${shot.state === "queued" && studio.isOwner
      ? html`<button class="small" @click=${() => page.act(() => studio.putAway(shot))}>Cancel</button>`
      : nothing}
  </li>`;
}

/** @param {Page} page @param {Shot} shot @param {Shot[]} takes */
function takesView(page, shot, takes) {
  const isOff = !page.studio.isOwner;
  return html`<div class="takes" role="group" aria-label="Takes of shot ${shot.number + 1}">${takes.map((take) =>
    html`<button aria-pressed=${take.id === shot.id} aria-label=${`Take ${take.take + 1}`} ?disabled=${isOff}
      @click=${() => page.act(() => page.goTo(take))}>${take.take + 1}</button>`)}</div>`;
}

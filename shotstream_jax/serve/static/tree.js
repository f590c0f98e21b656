// All branches of a story, drawn as a tree: a column for each place in the film, a lane for each branch.

import { html, nothing, svg } from "./vendor/lit-html.js";

const STEP = 44;
const LANE = 30;

/** @typedef {{shot: import("./events.js").Shot, x: number, y: number}} Spot */

/** Places for the shots that are there. @param {import("./events.js").Board} board @returns {Spot[]} */
export function layOut(board) {
  /** @type {Map<string | null, import("./events.js").Shot[]>} */
  const followers = new Map();
  for (const shot of board.shots.values()) {
    if (shot.state === "cancelled" || shot.hidden) continue;
    followers.set(shot.parent, [...(followers.get(shot.parent) ?? []), shot]);
  }
  /** @type {Spot[]} */
  const spots = [];
  let lanes = 0;
  // Depth first without recursion: a story may have a thousand shots in a row.
  const open = (followers.get(null) ?? []).map((shot) => ({ shot, lane: -1 })).reverse();
  while (open.length) {
    const next = /** @type {{shot: import("./events.js").Shot, lane: number}} */ (open.pop());
    // The first follower stays in its parent's lane, the others each open one.
    const lane = next.lane >= 0 ? next.lane : lanes++;
    spots.push({ shot: next.shot, x: next.shot.number, y: lane });
    const children = followers.get(next.shot.id) ?? [];
    for (let i = children.length - 1; i >= 0; i--) open.push({ shot: children[i], lane: i ? -1 : lane });
  }
  return spots;
}

/**
 * @param {import("./studio.js").Studio} studio @param {(shot: import("./events.js").Shot) => void} onPick
 */
export function treeView(studio, onPick) {
  const spots = layOut(studio.board);
  const lanes = Math.max(0, ...spots.map((spot) => spot.y)) + 1;
  const at = new Map(spots.map((spot) => [spot.shot.id, spot]));
  const inBranch = new Set(studio.branch.map((shot) => shot.id));
  // Nothing but what the film strip shows.
  if (spots.every(({ shot }) => inBranch.has(shot.id))) return nothing;
  const width = (Math.max(...spots.map((spot) => spot.x)) + 1) * STEP;
  const lines = spots.map(({ shot, x, y }) => {
    const parent = shot.parent ? at.get(shot.parent) : undefined;
    if (!parent) return nothing;
    const [x0, y0, x1, y1] = [parent.x, parent.y, x, y].map((value, i) => middle(value, i % 2));
    const path = `M${x0} ${y0} C${x0 + STEP / 2} ${y0} ${x1 - STEP / 2} ${y1} ${x1} ${y1}`;
    return svg`<path class=${inBranch.has(shot.id) ? "now" : ""} d=${path} />`;
  });
  const dots = spots.map(({ shot, x, y }) => {
    const isNow = inBranch.has(shot.id);
    const name = `Go to shot ${shot.number + 1}, take ${shot.take + 1}: ${shot.caption}`;
    const label = isNow ? `${name} (in this film)` : name;
    return svg`<g class=${isNow ? "now" : ""} role="button" tabindex="0" aria-label=${label}
      transform=${`translate(${middle(x, 0)} ${middle(y, 1)})`}
      @click=${() => onPick(shot)}
      @keydown=${(/** @type {KeyboardEvent} */ event) => event.key === "Enter" && onPick(shot)}>
      <title>${shot.caption}</title><circle class="reach" r="14" /><circle r="9" />
      <text y="3.5">${shot.number + 1}</text></g>`;
  });
  return html`<section class="tree" aria-labelledby="tree-title">
    <h2 id="tree-title">Branches</h2>
    <div class="scroll" tabindex="0" role="group" aria-label="Tree of branches">
      <svg width=${width} height=${lanes * LANE}>${lines}${dots}</svg>
    </div>
  </section>`;
}

/** @param {number} value @param {number} isY */
function middle(value, isY) {
  return isY ? value * LANE + LANE / 2 : value * STEP + STEP / 2;
}

// All branches of a story, drawn as a tree under the film strip: a column for each place in the film,
// as the strip has them, and a lane for each branch.

import { html, nothing, svg } from "./vendor/lit-html.js";

export const COLUMN = 144; // pixels, also of a card with its gap (storyboard.css)
const CLIP = 132;
const LANE = 28;
const HIGH = 22;
const LETTERS = 17; // of a caption, that fit a clip

/** @typedef {import("./events.js").Shot} Shot */
/** @typedef {import("./page.js").Page} Page */
/** @typedef {{shot: Shot, x: number, y: number}} Spot */

/** What was laid out last. @type {{shots: Map<string, Shot> | null, spots: Spot[]}} */
let laid = { shots: null, spots: [] };

/** Places for the shots that are there. @param {import("./events.js").Board} board @returns {Spot[]} */
export function layOut(board) {
  /** @type {Map<string | null, Shot[]>} */
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
    const next = /** @type {{shot: Shot, lane: number}} */ (open.pop());
    // The first follower stays in its parent's lane, the others each open one.
    const lane = next.lane >= 0 ? next.lane : lanes++;
    spots.push({ shot: next.shot, x: next.shot.number, y: lane });
    const children = followers.get(next.shot.id) ?? [];
    for (let i = children.length - 1; i >= 0; i--) open.push({ shot: children[i], lane: i ? -1 : lane });
  }
  return spots;
}

/** @param {Page} page */
export function treeView(page) {
  const { studio } = page;
  const { board } = studio;
  if (laid.shots !== board.shots) laid = { shots: board.shots, spots: layOut(board) };
  const { spots } = laid;
  const inBranch = new Set(studio.branch.map((shot) => shot.id));
  // Nothing but what the film strip shows.
  if (spots.every(({ shot }) => inBranch.has(shot.id))) return nothing;
  const at = new Map(spots.map((spot) => [spot.shot.id, spot]));
  const width = (Math.max(...spots.map((spot) => spot.x)) + 1) * COLUMN;
  const height = (Math.max(...spots.map((spot) => spot.y)) + 1) * LANE;
  const tabbed = at.has(page.tabShot ?? "") ? page.tabShot : spots[0].shot.id;
  // Those of the film are drawn last, over the others.
  const ordered = spots.toSorted((a, b) => Number(inBranch.has(a.shot.id)) - Number(inBranch.has(b.shot.id)));
  return html`<section class="tree" aria-labelledby="tree-title">
    <h2 id="tree-title">Branches</h2>
    <svg width=${width} height=${height} role="group" aria-label="Tree of branches"
      @keydown=${(/** @type {KeyboardEvent} */ event) => walk(event, spots)}>
      ${ordered.map((spot) => lineView(spot, at, inBranch))}
      ${spots.map((spot) => clipView(page, spot, inBranch.has(spot.shot.id), spot.shot.id === tabbed))}
    </svg>
  </section>`;
}

/** From a shot's parent to the shot. @param {Spot} spot @param {Map<string, Spot>} at @param {Set<string>} inBranch */
function lineView({ shot, x, y }, at, inBranch) {
  const parent = shot.parent ? at.get(shot.parent) : undefined;
  if (!parent) return nothing;
  const [from, to] = [parent.y, y].map((lane) => lane * LANE + HIGH / 2);
  const start = parent.x * COLUMN + CLIP;
  const bend = Math.sign(to - from) * 5;
  const down = `Q${start + 6} ${from} ${start + 6} ${from + bend} V${to - bend} Q${start + 6} ${to} ${x * COLUMN} ${to}`;
  const path = `M${start} ${from}${bend ? down : `H${x * COLUMN}`}`;
  return svg`<path class=${inBranch.has(shot.id) ? "now" : ""} d=${path} />`;
}

/** @param {Page} page @param {Spot} spot @param {boolean} isNow @param {boolean} isTabbed */
function clipView(page, { shot, x, y }, isNow, isTabbed) {
  const caption = shot.cues.at(-1)?.caption ?? shot.caption;
  const short = caption.length > LETTERS ? `${caption.slice(0, LETTERS - 1).trimEnd()}…` : caption;
  const name = `Shot ${shot.number + 1}, take ${shot.take + 1}: ${caption}${isNow ? " (in this film)" : ""}`;
  const go = () => page.studio.isOwner && page.act(() => page.goTo(shot));
  return svg`<g class="${isNow ? "now" : ""} ${shot.state}" role="button" tabindex=${isTabbed ? 0 : -1}
    data-spot=${shot.id}
    transform=${`translate(${x * COLUMN} ${y * LANE})`} @click=${go}
    @keydown=${(/** @type {KeyboardEvent} */ event) => event.key === "Enter" && go()}>
    <title>${name}</title><rect class="reach" y="-3" width=${CLIP} height=${LANE} />
    <rect width=${CLIP} height=${HIGH} rx="6" />
    <text y="15"><tspan class="place" x="8">${shot.number + 1}</tspan> <tspan x="24">${short}</tspan></text></g>`;
}

/** The arrow keys go about in the tree. @param {KeyboardEvent} event @param {Spot[]} spots */
function walk(event, spots) {
  const here = /** @type {Element} */ (event.target).getAttribute("data-spot");
  const spot = spots.find(({ shot }) => shot.id === here);
  if (!spot || !event.key.startsWith("Arrow")) return;
  const { shot, x, y } = spot;
  /** @type {Record<string, (other: Spot) => boolean>} */
  const ways = {
    ArrowLeft: (other) => other.shot.id === shot.parent,
    ArrowRight: (other) => other.shot.parent === shot.id,
    ArrowUp: (other) => other.x === x && other.y < y,
    ArrowDown: (other) => other.x === x && other.y > y,
  };
  // Of those above the nearest is the lowest.
  const found = spots.filter(ways[event.key]).sort((a, b) => a.y - b.y);
  const next = event.key === "ArrowUp" ? found.at(-1) : found[0];
  const svgElement = /** @type {Element} */ (event.currentTarget);
  const target = next && svgElement.querySelector(`[data-spot="${next.shot.id}"]`);
  if (target) /** @type {any} */ (target).focus();
  event.preventDefault();
  event.stopPropagation();
}

// The page's signs, as paths in a square of 20 units.

import { html } from "./vendor/lit-html.js";

const PATHS = {
  play: "M7 4.5v11l9-5.5z",
  pause: "M6.5 4.5H9v11H6.5zM11 4.5h2.5v11H11z",
  undo: "M7.5 4 4 7.5 7.5 11M4.5 7.5H12a4 4 0 0 1 0 8H8",
  redo: "M12.5 4 16 7.5 12.5 11M15.5 7.5H8a4 4 0 0 0 0 8h4",
  back: "M4 5v10M16 10H7.5M10.5 6.5 7 10l3.5 3.5",
  fork: "M5.5 4v12M5.5 8c0 2.8 2 4 4.5 4h5M12 9l3 3-3 3",
  take: "M4.5 8.5a5.6 5.6 0 0 1 10-1.5M15 3.5V7h-3.5M15.5 11.5a5.6 5.6 0 0 1-10 1.5M5 16.5V13h3.5",
  words: "M4 16l.8-3.2L13 4.5 15.5 7l-8.2 8.2z",
  pin: "M10 12.5V17M6.5 12.5h7L11.4 8.5 12 4H8l.6 4.5z",
  away: "M4.5 6h11M8 6V4h4v2M6 6l.7 10h6.6L14 6",
  picture: "M3.5 4.5h13v11h-13zM3.5 13 7 9.5l3 3 2.5-2.5 4 4",
  clock: "M10 3.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zM10 6.5V10l2.5 1.5",
  full: "M4 8V4h4M12 4h4v4M16 12v4h-4M8 16H4v-4",
  close: "M5.5 5.5l9 9M14.5 5.5l-9 9",
  more: "M6 8.5 10 12.5 14 8.5",
};

/** @typedef {keyof typeof PATHS} IconName */

/** @param {IconName} name */
export function icon(name) {
  const kind = name === "play" || name === "pause" ? "icon solid" : "icon";
  return html`<svg class=${kind} viewBox="0 0 20 20" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
}

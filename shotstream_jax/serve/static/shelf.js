// The stories that this browser has written or opened, the last one first. Whoever has their tokens
// can change them, so they stay in the browser.

import * as api from "./api.js";

/** @typedef {{id: string, token: string, title: string, at: number}} Kept  at: last opened, ms since 1970 */

const OPEN = "shotstream-story";
const ALL = "shotstream-stories";
const MOST = 100;

/** The story that was open last. @returns {api.Key | null} */
export function lastOpen() {
  return JSON.parse(localStorage.getItem(OPEN) ?? "null");
}

/** None is open any more. */
export function close() {
  localStorage.removeItem(OPEN);
}

/** @returns {Kept[]} */
export function stories() {
  const kept = /** @type {Kept[]} */ (JSON.parse(localStorage.getItem(ALL) ?? "[]"));
  const last = lastOpen();
  // One that an earlier version of the page has kept alone.
  if (last && !kept.some(({ id }) => id === last.id)) {
    kept.unshift({ id: last.id, token: last.token, title: "", at: Date.now() });
  }
  return kept;
}

/** Opens a story with the next load of the page. @param {api.Key} key @param {string} [title] */
export function open({ id, token }, title) {
  const others = stories().filter((story) => story.id !== id);
  const known = stories().find((story) => story.id === id);
  const story = { id, token, title: title ?? known?.title ?? "", at: Date.now() };
  localStorage.setItem(ALL, JSON.stringify([story, ...others].slice(0, MOST)));
  localStorage.setItem(OPEN, JSON.stringify({ id, token }));
}

/** @param {api.Key} key @param {string} title by which the list has it */
export function name({ id, token }, title) {
  const listed = stories();
  const isNew = !listed.some((story) => story.id === id);
  const all = isNew ? [{ id, token, title, at: Date.now() }, ...listed] : listed;
  const named = all.map((story) => (story.id === id ? { ...story, title } : story));
  localStorage.setItem(ALL, JSON.stringify(named.slice(0, MOST)));
}

/** Removes a story for all, with its film. @param {Kept} story */
export async function remove(story) {
  await api.removeStory(story).catch((problem) => {
    // It is gone already.
    if (!(problem instanceof api.Refused) || problem.status !== 404) throw problem;
  });
  const isOpen = lastOpen()?.id === story.id;
  const others = stories().filter(({ id }) => id !== story.id);
  localStorage.setItem(ALL, JSON.stringify(others));
  if (isOpen) close();
}

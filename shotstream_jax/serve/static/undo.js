// One step of the history back or forth.

import * as api from "./api.js";

/** @typedef {import("./studio.js").Studio} Studio */
/** @typedef {import("./history.js").Step} Step */
/** @typedef {import("./events.js").Shot} Shot */

/** @type {Record<string, string>} */
export const NAMES = {
  ask: "the shot",
  head: "the change of place",
  title: "the title",
  tell: "the other words",
  hide: "putting a shot away",
  cut: "the cut",
};

/** What came of it takes the step's place. @param {Studio} studio @param {Step} step @param {boolean} isRedo
 *  @returns {Promise<Step>} */
export async function turn(studio, step, isRedo) {
  const { key, board } = studio;
  if (!key) return step;
  switch (step.kind) {
    case "ask":
      return isRedo ? askAgain(key, board.shots.get(step.shot), step) : takeBack(key, board.shots.get(step.shot), step);
    case "head":
      await api.changeStory(key, { head: isRedo ? step.after : step.before });
      return step;
    case "title":
      await api.changeStory(key, { title: isRedo ? step.after : step.before });
      return step;
    case "tell":
      await tellBack(key, board.shots.get(step.shot), step, isRedo);
      return step;
    case "hide":
      if (isRedo) await api.takeAway(key, step.shot);
      else {
        await api.restoreShot(key, step.shot);
        await api.changeStory(key, { head: step.before });
      }
      return step;
    case "cut": {
      // The whole shot, with the same noise; the cut one stays in the tree.
      const shot = board.shots.get(step.shot);
      if (isRedo) await api.changeStory(key, { head: step.shot });
      else if (shot) await api.askForShot(key, wishOf(shot));
      return step;
    }
  }
}

/** A shot as it was asked for. @param {api.Asked} shot @returns {api.Asked} */
export function wishOf({ caption, parent, take, pins, frames, styles }) {
  return { caption, parent, take, pins, frames, styles };
}

/** @param {api.Key} key @param {Shot | undefined} shot @param {any} step @param {boolean} isRedo */
async function tellBack(key, shot, step, isRedo) {
  const isOpen = shot?.state === "queued" || shot?.state === "making";
  const caption = isRedo ? step.after : step.before;
  if (isOpen) await api.retellShot(key, step.shot, { caption, again: true });
  // What is made does not change: the shot as it was told before is made beside it.
  else if (isRedo) await api.changeStory(key, { head: step.shot });
  else if (shot) await api.askForShot(key, { ...wishOf(shot), caption });
}

/** A shot that is made stays in the tree. @param {api.Key} key @param {Shot | undefined} shot @param {any} step */
async function takeBack(key, shot, step) {
  if (shot?.state === "queued" || shot?.state === "making") await api.takeAway(key, step.shot);
  await api.changeStory(key, { head: step.before });
  return step;
}

/** @param {api.Key} key @param {Shot | undefined} shot @param {any} step */
async function askAgain(key, shot, step) {
  if (shot?.state === "done") {
    await api.changeStory(key, { head: shot.id });
    return step;
  }
  const again = await api.askForShot(key, wishOf(step));
  return { ...step, shot: again.id };
}

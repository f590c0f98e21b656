// Undo and redo. What was done is kept as plain values, so that it outlives a reload of the page.

/**
 * @typedef {{kind: "ask", shot: string, before: string | null} & import("./api.js").Asked} Ask
 * @typedef {Ask
 *   | {kind: "head", before: string | null, after: string | null}
 *   | {kind: "hide", shot: string, before: string | null}
 *   | {kind: "title", before: string, after: string}
 *   | {kind: "tell", shot: string, before: string, after: string}
 *   | {kind: "cut", shot: string}} Step
 */

const LONGEST = 200;

export class History {
  /** @param {string} story its name @param {Storage} storage */
  constructor(story, storage) {
    this.name = `shotstream-history-${story}`;
    this.storage = storage;
    const kept = JSON.parse(storage.getItem(this.name) ?? "null");
    /** @type {Step[]} */
    this.done = kept?.done ?? [];
    /** @type {Step[]} */
    this.undone = kept?.undone ?? [];
  }

  /** @param {Step} step */
  add(step) {
    this.done.push(step);
    if (this.done.length > LONGEST) this.done.shift();
    this.undone = [];
    this.keep();
  }

  /** Moves the last step to the undone ones, once `act` has undone it. @param {(step: Step) => Promise<Step>} act */
  async undo(act) {
    const step = this.done.at(-1);
    if (!step) return null;
    const changed = await act(step);
    this.done.pop();
    this.undone.push(changed);
    this.keep();
    return changed;
  }

  /** And back. @param {(step: Step) => Promise<Step>} act */
  async redo(act) {
    const step = this.undone.at(-1);
    if (!step) return null;
    const changed = await act(step);
    this.undone.pop();
    this.done.push(changed);
    this.keep();
    return changed;
  }

  keep() {
    const { done, undone } = this;
    this.storage.setItem(this.name, JSON.stringify({ done, undone }));
  }
}

// A story as the page knows it: the fold of the server's events, as serve/board.py has it.

/** @typedef {{shot?: string, frame?: number, picture?: string}} Pin  what a shot sees besides */

/**
 * @typedef {{id: string, parent: string | null, number: number, caption: string, take: number,
 *   pins: Pin[], frames: number | null, styles: Record<string, number>,
 *   state: string, cues: {chunk: number, caption: string, again: boolean}[], cut: number | null,
 *   made: number, chunks: number, first_frame: number | null, length: number | null,
 *   hidden: boolean, reason: string}} Shot
 * @typedef {{seq: number, head: string | null, title: string, role: string, making: any,
 *   shots: Map<string, Shot>, stats: any}} Board
 */

/** @returns {Board} */
export function emptyBoard() {
  return { seq: 0, head: null, title: "", role: "", making: null, shots: new Map(), stats: null };
}

/**
 * The board after an event; the one given is not changed.
 * @param {Board} board @param {any} event @returns {Board}
 */
export function applyEvent(board, event) {
  if (event.event === "replay") {
    const caughtUp = event.events.reduce(applyEvent, board);
    // The shot in the making may have come with these events only.
    return board.making ? applyEvent(caughtUp, board.making) : caughtUp;
  }
  // What is there already, as after a reconnect.
  if (event.seq && event.seq <= board.seq) return board;
  const next = event.seq ? { ...board, seq: event.seq } : board;
  switch (event.event) {
    case "welcome": {
      // Nothing else is in the making.
      const shots = new Map(board.shots);
      for (const [id, shot] of shots) {
        if (shot.state === "making") shots.set(id, { ...shot, state: "queued", made: 0 });
      }
      const welcomed = { ...board, role: event.role, making: event.making, shots };
      return event.making ? applyEvent(welcomed, event.making) : welcomed;
    }
    case "stats":
      return { ...next, stats: event };
    case "head":
      return { ...next, head: event.shot };
    case "title":
      return { ...next, title: event.title };
    case "asked":
      return withShot({ ...next, head: event.shot }, event.shot, newShot(board, event));
    default:
      break;
  }
  const shot = board.shots.get(event.shot);
  if (!shot) return next;
  const changed = changeShot(board, shot, event);
  return changed ? withShot(next, shot.id, changed) : next;
}

/** What an event makes of its shot. @param {Board} board @param {Shot} shot @param {any} event */
function changeShot(board, shot, event) {
  switch (event.event) {
    case "making": {
      const { chunks, first_frame, made } = event;
      return { ...shot, state: "making", chunks, first_frame, made };
    }
    case "chunk":
      return { ...shot, made: event.chunk + 1 };
    case "edited":
      return { ...shot, caption: event.caption, take: event.take, cues: [] };
    case "told": {
      const before = shot.cues.length ? shot.cues : [{ chunk: 0, caption: shot.caption, again: true }];
      const { chunk, caption, again } = event;
      return { ...shot, cues: [...before, { chunk, caption, again }] };
    }
    case "cut":
      return { ...shot, cut: event.chunks };
    case "parent":
      return { ...shot, parent: event.parent, number: numberAfter(board, event.parent) };
    case "done": {
      const { chunks, first_frame, length } = event;
      return { ...shot, state: "done", chunks, made: chunks, first_frame, length };
    }
    case "cancelled":
      return { ...shot, state: "cancelled" };
    case "failed":
      return { ...shot, state: "failed", reason: event.reason };
    case "hidden":
      return { ...shot, hidden: event.hidden };
    default:
      return null;
  }
}

/** @param {Board} board @param {any} event @returns {Shot} */
function newShot(board, event) {
  return {
    id: event.shot,
    parent: event.parent,
    number: numberAfter(board, event.parent),
    caption: event.caption,
    take: event.take,
    pins: event.pins ?? [],
    frames: event.frames ?? null,
    styles: event.styles ?? {},
    state: "queued",
    cues: [],
    cut: null,
    made: 0,
    chunks: 0,
    first_frame: null,
    length: null,
    hidden: false,
    reason: "",
  };
}

/** @param {Board} board @param {string | null} parent */
function numberAfter(board, parent) {
  const shot = parent && board.shots.get(parent);
  return shot ? shot.number + 1 : 0;
}

/** @param {Board} board @param {string} id @param {Shot} shot @returns {Board} */
function withShot(board, id, shot) {
  return { ...board, shots: new Map(board.shots).set(id, shot) };
}

/** The shots from the beginning to `last`. @param {Board} board @param {string | null} last */
export function branch(board, last) {
  const shots = [];
  let shot = last && board.shots.get(last);
  while (shot) {
    shots.push(shot);
    shot = shot.parent && board.shots.get(shot.parent);
  }
  return shots.reverse();
}

/** Shots of one parent and caption that are there, by `takesName`. @param {Board} board */
export function allTakes(board) {
  /** @type {Map<string, Shot[]>} */
  const takes = new Map();
  for (const shot of board.shots.values()) {
    if (shot.hidden || shot.state === "cancelled" || shot.state === "failed") continue;
    const name = takesName(shot);
    takes.set(name, [...(takes.get(name) ?? []), shot]);
  }
  return takes;
}

/** @param {Shot} shot */
export function takesName({ parent, caption }) {
  return `${parent} ${caption}`;
}

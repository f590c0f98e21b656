// The server's commands (docs/serving.md). The token goes into a header, never into an address.

/** @typedef {{id: string, token: string}} Key  a story's name and a token that opens it */
/** @typedef {{caption: string, parent?: string | null, take?: number, frames?: number | null,
 *   pins?: import("./events.js").Pin[], styles?: Record<string, number>}} Wish  a shot to be made */
/** @typedef {Required<Wish>} Asked  as it was asked for in the end */

/** @type {Record<string, string>} */
const FULL = {
  queue_full: "The queue is full. Send this again when a shot is done, or cancel one in the strip.",
  too_often: "That was too fast for the server. Wait a moment, then send it again.",
  busy: "The server is writing other files. Try again in a few seconds.",
  full: "The server is full: too many stories are open. Try again in some minutes.",
  stopping: "The server restarts. Send this again once the story is live.",
  not_ready: "The server is getting ready. Try again in a few seconds.",
  disk: "The server's disk takes nothing at the moment. What is made is safe; try again later.",
};
const NO_ANSWER_AFTER = 20_000; // milliseconds
const NO_ANSWER = "The server does not answer. Send this again once the story is live.";

/** A command that the server refused: `code` is for programs, the message for people. */
export class Refused extends Error {
  /** @param {number} status @param {{code: string, message: string, remedy: string}} problem */
  constructor(status, problem) {
    super(FULL[problem.code] ?? `${problem.message}: ${problem.remedy}`);
    this.status = status;
    this.code = problem.code;
  }
}

/**
 * @param {Key | null} key
 * @param {string} method
 * @param {string} path behind /api
 * @param {object | Blob} [body] a Blob is sent as it is
 * @returns {Promise<Response>}
 */
async function call(key, method, path, body) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (key) headers["Authorization"] = `Bearer ${key.token}`;
  const isFile = body instanceof Blob;
  if (body) headers["Content-Type"] = isFile ? body.type || "application/zip" : "application/json";
  if (method === "POST") headers["Idempotency-Key"] = randomKey();
  const options = { method, headers, body: isFile ? body : body && JSON.stringify(body) };
  // The same request again where the line broke: its key makes it one.
  const answer = await answerInTime(`/api${path}`, options)
    .catch(() => answerInTime(`/api${path}`, options))
    .catch(() => Promise.reject(new Error(NO_ANSWER)));
  if (!answer.ok) throw new Refused(answer.status, await answer.json());
  return answer;
}

/** A request that is given up if no answer begins: a dead line says nothing of its end. A file may
 *  take its time. @param {string} path @param {RequestInit} options */
async function answerInTime(path, options) {
  const ending = new AbortController();
  const isFile = options.body instanceof Blob;
  const timer = isFile ? undefined : setTimeout(() => ending.abort(), NO_ANSWER_AFTER);
  try {
    return await fetch(path, { ...options, signal: ending.signal });
  } finally {
    clearTimeout(timer);
  }
}

/** 128 random bits; crypto.randomUUID is not there on http:// from another machine. */
function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {{global_caption?: string, seed?: number, title?: string, memory?: string}} story */
export async function makeStory(story) {
  return (await call(null, "POST", "/stories", story)).json();
}

/** @param {Key} key */
export async function readStory(key) {
  return (await call(key, "GET", `/stories/${key.id}`)).json();
}

/** @param {Key} key @param {{head?: string | null, title?: string}} change */
export async function changeStory(key, change) {
  return (await call(key, "PATCH", `/stories/${key.id}`, change)).json();
}

/** @param {Key} key */
export async function removeStory(key) {
  await call(key, "DELETE", `/stories/${key.id}`);
}

/** @param {Key} key @param {Wish} shot @returns {Promise<import("./events.js").Shot>} */
export async function askForShot(key, shot) {
  return (await call(key, "POST", `/stories/${key.id}/shots`, shot)).json();
}

/** @param {Key} key @param {string} shot @param {{caption: string, again?: boolean}} change */
export async function retellShot(key, shot, change) {
  return (await call(key, "PATCH", `/stories/${key.id}/shots/${shot}`, change)).json();
}

/** @param {Key} key @param {string} shot */
export async function cutShot(key, shot) {
  return (await call(key, "POST", `/stories/${key.id}/shots/${shot}/cut`)).json();
}

/** @param {Key} key @param {string} shot */
export async function takeAway(key, shot) {
  await call(key, "DELETE", `/stories/${key.id}/shots/${shot}`);
}

/** @param {Key} key @param {string} shot */
export async function restoreShot(key, shot) {
  return (await call(key, "POST", `/stories/${key.id}/shots/${shot}/restore`)).json();
}

/** @param {Key} key @param {string} shot @param {number} chunk */
export async function readChunk(key, shot, chunk) {
  return (await call(key, "GET", `/stories/${key.id}/shots/${shot}/chunks/${chunk}`)).arrayBuffer();
}

/** @param {string} caption @param {string} global_caption
 *  @returns {Promise<import("./words.js").Notes>} */
export async function checkPrompt(caption, global_caption) {
  return (await call(null, "POST", "/prompts/check", { caption, global_caption })).json();
}

export async function readModel() {
  return (await call(null, "GET", "/model")).json();
}

/** @param {Key} key @param {string} path behind the story's, of a file @returns {Promise<Blob>} */
export async function readFile(key, path) {
  return (await call(key, "GET", `/stories/${key.id}${path}`)).blob();
}

/** @param {Blob} file a story file @returns {Promise<Key & {share: string}>} */
export async function openStoryFile(file) {
  return (await call(null, "POST", "/stories/import", file)).json();
}

/** @param {Key} key @param {Blob} picture @returns {Promise<{picture: string}>} */
export async function keepPicture(key, picture) {
  return (await call(key, "POST", `/stories/${key.id}/pictures`, picture)).json();
}

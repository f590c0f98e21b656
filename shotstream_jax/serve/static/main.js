// The page: it writes down what the person asks for, and shows what the server makes of it.

import * as api from "/static/api.js";
import { applyEvent, branch, emptyBoard } from "/static/events.js";
import { follow } from "/static/live.js";
import { Player } from "/static/player.js";

const KEPT = "shotstream-story";
/** @param {string} id */
const element = (id) => /** @type {any} */ (document.getElementById(id));

/** @returns {Promise<{id: string, token: string}>} the story of this browser, or a new one */
async function openStory() {
  const kept = JSON.parse(localStorage.getItem(KEPT) ?? "null");
  if (kept && (await api.readStory(kept).catch(() => null))) return kept;
  const { id, token } = await api.makeStory({ global_caption: "A cartoon about a green frog." });
  localStorage.setItem(KEPT, JSON.stringify({ id, token }));
  return { id, token };
}

async function main() {
  const model = await api.readModel();
  const key = await openStory();
  const player = new Player(element("film"));
  let board = emptyBoard();
  const shown = new Set();

  /** @param {string} shot @param {number} chunk @param {number} frame @param {ArrayBuffer} film */
  function show(shot, chunk, frame, film) {
    if (shown.has(`${shot} ${chunk}`)) return;
    shown.add(`${shot} ${chunk}`);
    player.add(frame / model.video.fps, film);
  }

  /** What was made before the page was opened. */
  async function showEarlier() {
    for (const shot of branch(board, board.head)) {
      let frame = shot.first_frame ?? 0;
      for (let chunk = 0; shot.state === "done" && chunk < shot.chunks; chunk++) {
        const name = `${shot.id} ${chunk}`;
        if (!shown.has(name)) show(shot.id, chunk, frame, await api.readChunk(key, shot.id, chunk));
        frame += chunk ? model.video.later_chunk : model.video.first_chunk;
      }
    }
  }

  function draw() {
    const lines = branch(board, board.head).map((shot) => {
      const line = document.createElement("li");
      line.textContent = `${shot.caption} (${shot.state}, ${shot.made} chunks)`;
      return line;
    });
    element("shots").replaceChildren(...lines);
  }

  follow(key, () => ({ have: board.seq, shot: null, chunks: 0 }), {
    event(event) {
      board = applyEvent(board, event);
      if (event.event === "replay") showEarlier();
      draw();
    },
    chunk(facts, film) {
      board = applyEvent(board, { event: "chunk", ...facts });
      show(facts.shot, facts.chunk, facts.first_frame, film);
      draw();
    },
    state(state) {
      element("state").textContent = state === "open" ? "" : state;
    },
  });

  element("ask").addEventListener("submit", async (/** @type {Event} */ submitted) => {
    submitted.preventDefault();
    const caption = element("prompt").value.trim();
    if (!caption) return;
    try {
      await api.askForShot(key, { caption });
      element("prompt").value = "";
    } catch (error) {
      element("state").textContent = String(error instanceof Error ? error.message : error);
    }
  });
}

main().catch((error) => (element("state").textContent = error.message));

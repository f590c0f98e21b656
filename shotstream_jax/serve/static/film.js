// The film of a branch: its pieces on the timeline, what is read of them, and the shots' posters.

import * as api from "./api.js";
import { branch } from "./events.js";

/** @typedef {import("./events.js").Shot} Shot */
/** @typedef {import("./events.js").Board} Board */
/** @typedef {import("./player.js").Piece} Piece */

const KEPT = 400; // chunks

export class Film {
  /** @param {any} video the model's format @param {() => void} onChange */
  constructor(video, onChange) {
    this.video = video;
    this.onChange = onChange;
    /** @type {api.Key | null} */
    this.key = null;
    /** @type {Map<string, Promise<ArrayBuffer>>} */
    this.chunks = new Map();
    /** @type {Map<string, string>} */
    this.posters = new Map();
    /** How many posters have come. */
    this.shown = 0;
    /** What was laid out last. @type {{of: unknown[], pieces: Piece[], starts: Map<string, number>}} */
    this.laid = { of: [], pieces: [], starts: new Map() };
  }

  /** The film up to the head, chunk by chunk. @param {Board} board @returns {Piece[]} */
  timeline(board) {
    this.layOut(board);
    return this.laid.pieces;
  }

  /** A shot's place in seconds, null if nothing of it is there. @param {Board} board @param {Shot} shot */
  startOf(board, shot) {
    this.layOut(board);
    return this.laid.starts.get(shot.id) ?? null;
  }

  /** Nothing is done if it was laid out last. @param {Board} board */
  layOut(board) {
    if (this.laid.of[0] === board.shots && this.laid.of[1] === board.head) return;
    const { fps, first_chunk, later_chunk } = this.video;
    const pieces = [];
    const starts = new Map();
    let frame = 0;
    for (const shot of branch(board, board.head)) {
      if (shot.made) starts.set(shot.id, frame / fps);
      for (let chunk = 0; chunk < shot.made; chunk++) {
        const end = frame + (chunk ? later_chunk : first_chunk);
        const film = () => this.chunk(shot.id, chunk);
        pieces.push({ name: `${shot.id} ${chunk}`, at: frame / fps, end: end / fps, film });
        frame = end;
      }
    }
    this.laid = { of: [board.shots, board.head], pieces, starts };
  }

  /** Seconds of so many chunks. @param {number} chunks */
  seconds(chunks) {
    const { fps, first_chunk, later_chunk } = this.video;
    return chunks ? (first_chunk + (chunks - 1) * later_chunk) / fps : 0;
  }

  /** @param {string} shot @param {number} chunk @param {ArrayBuffer} film */
  keep(shot, chunk, film) {
    this.chunks.set(`${shot} ${chunk}`, Promise.resolve(film));
  }

  /** @param {string} shot @param {number} chunk */
  chunk(shot, chunk) {
    const name = `${shot} ${chunk}`;
    const kept = this.chunks.get(name);
    if (kept || !this.key) return kept ?? Promise.reject(new Error("no story"));
    const film = api.readChunk(this.key, shot, chunk);
    this.chunks.set(name, film);
    film.catch(() => this.chunks.delete(name));
    // The least recent ones are read again when they are needed.
    if (this.chunks.size > KEPT) this.chunks.delete([...this.chunks.keys()][0]);
    return film;
  }

  /** The address of a shot's poster, "" until it is there. @param {Shot} shot */
  poster(shot) {
    const kept = this.posters.get(shot.id);
    // It is written after the first chunk, and before the second one.
    const isThere = shot.made > 1 || shot.state === "done";
    if (kept !== undefined || !isThere || !this.key) return kept ?? "";
    this.posters.set(shot.id, "");
    api.readFile(this.key, `/shots/${shot.id}/poster`).then(
      (blob) => {
        this.posters.set(shot.id, URL.createObjectURL(blob));
        this.shown++;
        this.onChange();
      },
      // Too fast for the server, or the line broke: once more in a while.
      () => setTimeout(() => this.posters.delete(shot.id), 2000),
    );
    return "";
  }
}

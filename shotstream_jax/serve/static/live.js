// The socket of a story: events and chunks as they are made, and again after the line broke.

/** What the server says with the socket's end: it restarts; it has too many viewers.
 *  @type {Record<number, "restarting" | "full">} */
const STATES = { 1012: "restarting", 1013: "full" };
/** The server says something every 10 s. A line on which nothing comes for longer is dead, though no
 *  end has been told: milliseconds. */
const SILENCE = 25_000;

/**
 * @param {{id: string, token: string}} key
 * @param {() => {have: number, shot: string | null, chunks: number}} cursor what the page has
 * @param {{event: (event: any) => void, chunk: (facts: any, film: ArrayBuffer) => void,
 *   state: (state: "connecting" | "open" | "lost" | "restarting" | "full" | "refused") => void}} on
 * @returns {() => void} ends it
 */
export function follow(key, cursor, on) {
  /** @type {WebSocket | null} */
  let socket = null;
  let isEnded = false;
  let wait = 250;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let listening = undefined;

  function open() {
    on.state("connecting");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    socket = new WebSocket(`${scheme}://${location.host}/api/stories/${key.id}/live`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket?.send(JSON.stringify({ hello: 1, token: key.token, ...cursor() }));
    socket.onmessage = ({ data }) => {
      listen();
      receive(data);
    };
    socket.onclose = ({ code }) => close(code);
    listen();
  }

  /** From now on something must come in time. */
  function listen() {
    clearTimeout(listening);
    listening = setTimeout(() => {
      // Its own end could take long; nothing that it still says counts.
      const dead = socket;
      if (dead) dead.onopen = dead.onmessage = dead.onclose = null;
      dead?.close();
      close(1006);
    }, SILENCE);
  }

  /** @param {number} code */
  function close(code) {
    clearTimeout(listening);
    if (isEnded) return;
    // 44…: the server will never let this page in.
    if (code >= 4400 && code < 4500) return on.state("refused");
    on.state(STATES[code] ?? "lost");
    setTimeout(open, wait * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, 8000);
  }

  /** @param {string | ArrayBuffer} data */
  function receive(data) {
    if (typeof data === "string") {
      const event = JSON.parse(data);
      if (event.event === "welcome") {
        wait = 250;
        on.state("open");
      }
      return on.event(event);
    }
    // The length of the facts, the facts, the film.
    const length = new DataView(data).getUint32(0);
    const facts = JSON.parse(new TextDecoder().decode(data.slice(4, 4 + length)));
    on.chunk(facts, data.slice(4 + length));
  }

  open();
  return () => {
    isEnded = true;
    clearTimeout(listening);
    socket?.close();
  };
}

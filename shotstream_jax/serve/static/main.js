// The page's beginning: the model, the story to open, and what the document is told of.

import * as api from "./api.js";
import { listenForKeys } from "./keys.js";
import { Page } from "./page.js";
import * as shelf from "./shelf.js";

const AGAIN = 2000; // milliseconds until a server that does not answer is asked again
/** @param {string} id @returns {any} */
const element = (id) => document.getElementById(id);

/** The story of the address, or of this browser. @returns {api.Key | null} */
function storyToOpen() {
  const [id, token] = location.hash.slice(1).split(".");
  return id && token ? { id, token } : shelf.lastOpen();
}

/** @param {Page} page @param {api.Key} key */
async function openStory(page, key) {
  const { studio } = page;
  try {
    await studio.open(key);
  } catch (problem) {
    const isThere = !(problem instanceof api.Refused) || problem.status >= 429;
    studio.connection = isThere ? "lost" : "refused";
    if (isThere) setTimeout(() => openStory(page, key), AGAIN);
  }
  page.later();
}

/** Files that are chosen or dropped. @param {Page} page */
function listenForFiles(page) {
  for (const id of ["story-file", "picture-file"]) {
    element(id).addEventListener("change", (/** @type {any} */ event) => {
      if (event.target.files[0]) page.files.open(event.target.files[0]);
      event.target.value = "";
    });
  }
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const file = event.dataTransfer?.files[0];
    if (file) page.files.open(file);
  });
}

/** An open menu closes with a click, in it or elsewhere. */
function listenForMenus() {
  document.addEventListener("click", (event) => {
    const summary = /** @type {Element} */ (event.target).closest("summary");
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!summary || !menu.contains(summary)) menu.removeAttribute("open");
    }
  });
}

async function main() {
  const model = await api.readModel().catch(() => null);
  if (!model) {
    element("waiting").textContent = "The server does not answer. Trying again …";
    return setTimeout(main, AGAIN);
  }
  element("waiting").remove();
  const page = new Page(model);
  const { width, height } = model.video;
  document.documentElement.style.setProperty("--aspect", String(width / height));
  listenForKeys(page);
  listenForFiles(page);
  listenForMenus();
  // The caret may have scrolled the line.
  document.addEventListener("selectionchange", () => page.later());
  addEventListener("hashchange", () => location.reload());
  const key = storyToOpen();
  if (key) {
    page.studio.connection = "connecting";
    openStory(page, key);
  }
  page.draw();
  // With a keyboard at hand one can write at once.
  if (matchMedia("(pointer: fine)").matches) element("prompt")?.focus();
}

main();

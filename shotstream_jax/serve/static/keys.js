// The keyboard. Single letters act only where nothing is being written.

/** @param {import("./page.js").Page} page */
export function listenForKeys(page) {
  document.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    const isDialog = Boolean(document.querySelector("dialog[open]"));
    if (isDialog) return;
    const isWriting = target.matches("input:not([type=range]), select");
    const isUsed = isWriting ? whileWriting(page, event) : elsewhere(page, event);
    if (isUsed) event.preventDefault();
  });
}

/** @param {import("./page.js").Page} page @param {KeyboardEvent} event */
function whileWriting(page, event) {
  const field = /** @type {HTMLInputElement} */ (event.target);
  if (field.id !== "prompt") return false;
  if (event.key === "Escape") return escape(page);
  const isAtEnd = field.selectionStart === field.value.length;
  const completes = event.key === "ArrowRight" || (event.key === "Tab" && !event.shiftKey);
  if (completes && isAtEnd) return page.writer.complete();
  if (event.altKey && event.key === "ArrowUp") return page.writer.lengthen(1);
  if (event.altKey && event.key === "ArrowDown") return page.writer.lengthen(-1);
  // In an empty line there is nothing of its own to be undone.
  if (field.value === "") return undoing(page, event);
  return false;
}

/** @param {import("./page.js").Page} page @param {KeyboardEvent} event */
function elsewhere(page, event) {
  if (undoing(page, event)) return true;
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  if (event.key === "Escape") return escape(page);
  if (event.key === "?") return done(page.toggle("keys"));
  const isButton = /** @type {HTMLElement} */ (event.target).matches("button, summary, input, [role=button]");
  const isCard = /** @type {HTMLElement} */ (event.target).matches(".face");
  if (event.key === " ") return isButton && !isCard ? false : done(page.play());
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    if (isButton && !isCard) return false;
    return done(page.pickBeside(event.key === "ArrowLeft" ? -1 : 1));
  }
  if (event.key.toLowerCase() === "o") return done(page.toggle("stories"));
  if (!page.studio.isOwner) return false;
  return letter(page, event.key.toLowerCase());
}

/** @param {import("./page.js").Page} page @param {string} key */
function letter(page, key) {
  if (key === "n") return done(document.getElementById("prompt")?.focus());
  if (key === "l") return done(document.getElementById("length")?.focus());
  const shot = page.chosen;
  if (!shot) return false;
  if (key === "d") return done(page.act(() => page.studio.anotherTake(shot)));
  if (key === "b") return done(page.act(() => page.goTo(shot)));
  if (key === "f") return done(page.writer.setMode("fork", shot));
  if (key === "e") return done(page.writer.reword(shot));
  if (key === "p") return done(page.files.pin());
  if (key === "delete") return done(page.act(() => page.studio.putAway(shot)));
  return false;
}

/** @param {import("./page.js").Page} page @param {KeyboardEvent} event */
function undoing(page, event) {
  if (!(event.ctrlKey || event.metaKey)) return false;
  const key = event.key.toLowerCase();
  if (key === "y" || (key === "z" && event.shiftKey)) return done(page.act(() => page.studio.redo()));
  if (key === "z") return done(page.act(() => page.studio.undo()));
  return false;
}

/** @param {import("./page.js").Page} page */
function escape(page) {
  const menu = document.querySelector("details.menu[open]");
  if (menu) return done(menu.removeAttribute("open"));
  if (page.writer.mode.kind !== "next") return done(page.writer.leaveMode());
  if (page.studio.making || !page.studio.selected) return done(page.act(() => page.studio.cut()));
  return done(page.unpick());
}

/** The key has been used. @param {unknown} _ what came of it */
function done(_) {
  return true;
}

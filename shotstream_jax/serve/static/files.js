// What goes in and out of a story: pinned frames, pictures, films, story files, the link to watch.

import * as api from "./api.js";
import * as shelf from "./shelf.js";

const NO_SUCH_FILE = "Drop a picture (PNG, JPEG, WebP) or a story file (zip)";

export class Files {
  /** @param {import("./page.js").Page} page */
  constructor(page) {
    this.page = page;
  }

  /** The picture on the screen is one that the next shot sees. */
  pin() {
    const { studio, video } = this.page;
    const { fps } = studio.model.video;
    const shot = studio.branch.findLast((other) => (studio.startOf(other) ?? Infinity) <= video.currentTime);
    if (!shot || shot.state !== "done") return studio.tell("Only a shot that is done can be pinned", true);
    const frame = Math.floor((video.currentTime - (studio.startOf(shot) ?? 0)) * fps);
    studio.pins = [...studio.pins, { shot: shot.id, frame: Math.min(frame, (shot.length ?? 1) - 1) }];
    studio.tell("The next shot sees this picture");
  }

  /** @param {number} index */
  unpin(index) {
    const { studio } = this.page;
    studio.pins = studio.pins.filter((_, i) => i !== index);
    this.page.later();
  }

  /** @param {"story-file" | "picture-file"} id of a hidden file input */
  choose(id) {
    document.getElementById(id)?.click();
  }

  /** @param {File} file a picture or a story file */
  open(file) {
    const { studio, writer } = this.page;
    return this.page.act(async () => {
      if (!/\.(zip|png|jpe?g|webp)$/i.test(file.name)) throw new Error(NO_SUCH_FILE);
      if (file.type.startsWith("image/")) {
        if (!studio.key) await writer.begin();
        const key = /** @type {api.Key} */ (studio.key);
        const { picture } = await api.keepPicture(key, file);
        studio.pins = [...studio.pins, { picture }];
        return;
      }
      this.page.openStory(await api.openStoryFile(file), file.name.replace(/\.zip$/i, ""));
    });
  }

  /** @param {string} path @param {string} kind */
  save(path, kind) {
    const { studio } = this.page;
    return this.page.act(async () => {
      const file = await api.readFile(/** @type {api.Key} */ (studio.key), path);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(file);
      link.download = `${studio.board.title || "story"}.${kind}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    });
  }

  copyLink() {
    const { studio } = this.page;
    const link = `${location.origin}/#${studio.key?.id}.${studio.story.share}`;
    return this.page.act(async () => {
      // The clipboard is not there on http:// from another machine.
      if (navigator.clipboard) await navigator.clipboard.writeText(link).catch(() => {});
      studio.tell(`Whoever has this link can watch: ${link}`);
    });
  }

  /** @param {shelf.Kept} story */
  remove(story) {
    const isOpen = this.page.studio.key?.id === story.id;
    return this.page.act(async () => {
      await shelf.remove(story);
      if (isOpen) this.page.startWith("");
    });
  }
}

// What of a prompt the model knows, and how a word that is begun may end.

/** @typedef {{text: string, isUnknown: boolean}} Piece */
/** @typedef {{unknown: string[], swallowed: string, cut: number}} Notes  the server's, of a prompt */

const WORD = /[\p{L}\p{N}']+/gu;
const TOKEN = /[\p{L}\p{N}']+|[^\s\p{L}\p{N}']/gu;

/**
 * A prompt in pieces, whose texts together are the prompt.
 * @param {string} text @param {Set<string>} known lower case; empty: the model knows all words
 * @returns {Piece[]}
 */
export function pieces(text, known) {
  /** @type {Piece[]} */
  const found = [];
  let end = 0;
  for (const match of text.matchAll(WORD)) {
    if (match.index > end) found.push({ text: text.slice(end, match.index), isUnknown: false });
    end = match.index + match[0].length;
    const word = match[0].toLowerCase();
    // The word that is being written may still become a known one.
    const isBegun = end === text.length && [...known].some((other) => other.startsWith(word));
    const isUnknown = known.size > 0 && !known.has(word) && !isBegun;
    found.push({ text: match[0], isUnknown });
  }
  if (end < text.length) found.push({ text: text.slice(end), isUnknown: false });
  return found;
}

/**
 * Where the part begins that the model will not see.
 * @param {string} text @param {number} cut how many words and signs at the end do not fit
 */
export function endOfSeen(text, cut) {
  const tokens = [...text.matchAll(TOKEN)];
  return cut ? (tokens[Math.max(0, tokens.length - cut)]?.index ?? 0) : text.length;
}

/** The unknown words, each once. @param {string} text @param {Set<string>} known */
export function unknownWords(text, known) {
  const unknown = pieces(text, known).filter((piece) => piece.isUnknown);
  return [...new Set(unknown.map((piece) => piece.text))];
}

/**
 * The rest of the word that is being written; "" if nothing is begun, or nothing fits.
 * @param {string} text up to the caret @param {string[]} words
 */
export function completion(text, words) {
  const begun = /[\p{L}\p{N}']+$/u.exec(text)?.[0].toLowerCase();
  if (!begun) return "";
  const word = words.find((other) => other.startsWith(begun));
  return word ? word.slice(begun.length) : "";
}

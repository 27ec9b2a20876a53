// Compares two texts word by word.

/**
 * @typedef {object} Part
 * @property {"same" | "first" | "second"} in Which texts have it.
 * @property {string} text
 */

/**
 * @typedef {object} Comparison
 * @property {Part[]} parts In order. Those in the first text or in both make up the first text but for white space.
 * @property {number} sameShare Of the words of both texts, 0 to 1.
 * @property {boolean} isCoarse Whether the part between the first and the last difference was too long to compare.
 */

/** Cells of the table: two bytes and a few nanoseconds each. */
const MAX_CELLS = 8_000_000;

/**
 * Find the longest common subsequence of words.
 * @param {string} first
 * @param {string} second
 * @returns {Comparison}
 */
export function compare(first, second) {
  const [one, two] = [wordsOf(first), wordsOf(second)];
  /** @param {number} i @param {number} j */
  const isSame = (i, j) => one[i].trimEnd() === two[j].trimEnd();
  let start = 0;
  while (start < one.length && start < two.length && isSame(start, start)) start += 1;
  let [end, other] = [one.length, two.length];
  while (end > start && other > start && isSame(end - 1, other - 1)) {
    end -= 1;
    other -= 1;
  }
  /** @type {Part[]} */
  const parts = [];
  let same = 0;
  /** @param {Part["in"]} where @param {string} text */
  const add = (where, text) => {
    if (where === "same") same += 1;
    const last = parts.at(-1);
    if (last?.in === where) last.text += text;
    else parts.push({ in: where, text });
  };
  for (const word of two.slice(0, start)) add("same", word);
  const isCoarse = (end - start + 1) * (other - start + 1) > MAX_CELLS;
  if (isCoarse) {
    for (const word of one.slice(start, end)) add("first", word);
    for (const word of two.slice(start, other)) add("second", word);
  } else {
    align(one.slice(start, end), two.slice(start, other), add);
  }
  for (const word of two.slice(other)) add("same", word);
  const all = one.length + two.length;
  return { parts, sameShare: all === 0 ? 1 : (2 * same) / all, isCoarse };
}

/**
 * @param {string[]} one
 * @param {string[]} two
 * @param {(where: Part["in"], text: string) => void} add
 */
function align(one, two, add) {
  const [keys, others] = [one.map((word) => word.trimEnd()), two.map((word) => word.trimEnd())];
  const width = two.length + 1;
  // `common[i * width + j]`: how many words `one` from i and `two` from j have in common, in order.
  const common = new Uint16Array((one.length + 1) * width);
  for (let i = one.length - 1; i >= 0; i -= 1) {
    for (let j = two.length - 1; j >= 0; j -= 1) {
      const at = i * width + j;
      common[at] = keys[i] === others[j] ? common[at + width + 1] + 1 : Math.max(common[at + width], common[at + 1]);
    }
  }
  let [i, j] = [0, 0];
  while (i < one.length || j < two.length) {
    if (i < one.length && j < two.length && keys[i] === others[j]) {
      add("same", two[j]);
      i += 1;
      j += 1;
    } else if (j >= two.length || (i < one.length && common[(i + 1) * width + j] >= common[i * width + j + 1])) {
      add("first", one[i]);
      i += 1;
    } else {
      add("second", two[j]);
      j += 1;
    }
  }
}

/**
 * Words and punctuation, each with the white space after it.
 * @param {string} text
 */
function wordsOf(text) {
  /** @type {string[]} */
  const words = [];
  // It also finds the words of languages without spaces.
  for (const { segment } of new Intl.Segmenter(undefined, { granularity: "word" }).segment(text)) {
    if (segment.trim() === "" && words.length > 0) words[words.length - 1] += segment;
    else words.push(segment);
  }
  return words;
}

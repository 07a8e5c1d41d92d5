// Names of any length as short ones.

const longestName = 128;

/** FNV-1a, from a start of its own. */
function hash(text: string, start: number): number {
  let result = start;
  for (let i = 0; i < text.length; i++) result = Math.imul(result ^ text.charCodeAt(i), 0x01000193);
  return result >>> 0;
}

/** A short name as it is; of a long one the beginning and what tells it from others. */
export function shortened(name: string): string {
  if (name.length <= longestName) return name;
  const mark = [0x811c9dc5, 0x9e3779b9].map((start) => hash(name, start).toString(36)).join("");
  return `${name.slice(0, longestName - 32)}…${mark}`;
}

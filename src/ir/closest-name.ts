// The known name that is closest to a mistyped one.

/** Damerau-Levenshtein: letters put in, left out, changed, or swapped with the next. */
export function editDistance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swapped = isSwapped ? rows[i - 2][j - 2] + 1 : Number.POSITIVE_INFINITY;
      row.push(Math.min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + same, swapped));
    }
    rows.push(row);
  }
  return rows[a.length][b.length];
}

/** How far a name is from one that may have been meant; its beginning, three letters or more, is near. */
function distanceTo(other: string, name: string): number {
  const isBeginning = name.length >= 3 && other.startsWith(name);
  return isBeginning ? 1 : editDistance(name, other);
}

/** The closest of the names; `undefined` where none is close: more than a third of the letters differ. */
export function closestName(name: string, names: readonly string[]): string | undefined {
  const far = Math.max(1, Math.floor(name.length / 3));
  const [best] = names
    .map((other) => ({ other, distance: distanceTo(other.toLowerCase(), name.toLowerCase()) }))
    .filter(({ distance }) => distance <= far)
    .sort((a, b) => a.distance - b.distance);
  return best?.other;
}

// New names.

/** Gives each hint back, numbered if it is taken or was given before. */
export function uniqueNames(taken: Iterable<string> = []): (hint: string) => string {
  const names = new Set(taken);
  const counters = new Map<string, number>();
  return (hint) => {
    let name = hint;
    while (names.has(name)) {
      const count = (counters.get(hint) ?? 0) + 1;
      counters.set(hint, count);
      name = `${hint}_${count}`;
    }
    names.add(name);
    return name;
  };
}

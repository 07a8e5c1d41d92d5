// How much a computation does, as a number that is the same at every run: elements that arrays, maps and sets are asked about.

const wholeArray = ["map", "flatMap", "filter", "forEach", "reduce", "concat", "join", "toSorted", "with"] as const;
const someOfArray = ["includes", "indexOf", "lastIndexOf", "find", "findIndex", "findLast", "some", "every"] as const;

/** Elements visited by methods of arrays, at most, and look-ups in maps and sets, while `compute` runs. */
export function countWork(compute: () => void): number {
  let work = 0;
  const restore: (() => void)[] = [];
  const watch = (
    prototype: object,
    name: PropertyKey,
    cost: (self: { length: number }, result: unknown) => number,
  ): void => {
    const original = Reflect.get(prototype, name) as (...args: unknown[]) => unknown;
    restore.push(() => Reflect.set(prototype, name, original));
    Reflect.set(prototype, name, function watched(this: { length: number }, ...args: unknown[]): unknown {
      const result = original.apply(this, args);
      work += cost(this, result);
      return result;
    });
  };
  for (const name of [...wholeArray, ...someOfArray, Symbol.iterator])
    watch(Array.prototype, name, ({ length }) => length);
  watch(Array.prototype, "slice", (_, result) => (result as unknown[]).length);
  for (const name of ["get", "has", "set"]) watch(Map.prototype, name, () => 1);
  for (const name of ["has", "add"]) watch(Set.prototype, name, () => 1);
  try {
    compute();
  } finally {
    for (const undo of restore.reverse()) undo();
  }
  return work;
}

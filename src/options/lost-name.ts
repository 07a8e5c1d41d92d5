// zod drops the key "__proto__"; here it is reported instead of being lost.
type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The first option of which a name within its value is not in what was parsed. */
export function lostName(given: Fields, parsed: Fields): { option: string; name: string } | undefined {
  for (const [option, value] of Object.entries(given)) {
    const kept = parsed[option];
    if (!isFields(value) || !isFields(kept)) continue;
    const name = Object.keys(value).find((key) => !Object.hasOwn(kept, key));
    if (name !== undefined) return { option, name };
  }
  return undefined;
}

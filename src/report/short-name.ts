// Names of layers, as short as a chart's axis wants them.

const longest = 22;

/** Of PyTorch's `/layer1/layer1.0/conv1/Conv`, neither the operator nor what the next part repeats: layer1.0, conv1. */
function partsOf(name: string, separator: string): readonly string[] {
  const parts = name.split(separator).filter((part) => part !== "");
  const isOperator = name.startsWith("/") && /^[A-Z][A-Za-z]*$/.test(parts.at(-1) ?? "");
  const told = isOperator && parts.length > 1 ? parts.slice(0, -1) : parts;
  return told.filter((part, i) => !told[i + 1]?.startsWith(`${part}.`));
}

/** As many of the last parts as there is room for, at least the end of the last. */
function endOf(parts: readonly string[], separator: string, room: number): string {
  const count = parts.findIndex((_, i) => parts.slice(i).join(separator).length <= room);
  return count < 0 ? (parts.at(-1) ?? "").slice(-room) : parts.slice(count).join(separator);
}

/** What PyTorch counts operators by tells no layers apart. */
const isNumbered = (text: string): boolean => /\d/.test(text.replace(/[A-Z][A-Za-z]*_\d+$/, ""));

/** A long name's end, and where that has no number, the last part before it that has: `…layer.11…self/query`. */
export function shortName(name: string): string {
  if (name.length <= longest) return name;
  const separator = name.includes("/") ? "/" : ".";
  const parts = partsOf(name, separator);
  const end = endOf(parts, separator, longest - 1);
  const numbered = parts.findLast(isNumbered);
  if (isNumbered(end) || numbered === undefined || numbered.length > longest / 2) return `…${end}`;
  return `…${numbered}…${endOf(parts, separator, longest - 2 - numbered.length)}`;
}

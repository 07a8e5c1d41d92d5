// Plain tables for terminals.
import { formatDigits } from "../report/format-digits.ts";
import { printable, shorten } from "./printable.ts";

export type Align = "left" | "right";

/** Of a cell, so that a name cannot make every row as long as itself. */
const longestCell = 120;

/** The table's lines: columns as wide as their widest cell, and no cell of several lines. */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  align: readonly Align[] = [],
): readonly string[] {
  const cells = rows.map((row) => row.map((cell) => printable(shorten(cell, longestCell))));
  const widths = header.map((title, i) => cells.reduce((width, row) => Math.max(width, row[i].length), title.length));
  const print = (row: readonly string[]): string =>
    row
      .map((cell, i) => (align[i] === "right" ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join("  ")
      .trimEnd();
  return [print(header), print(widths.map((width) => "─".repeat(width))), ...cells.map(print)];
}

const units = ["", "k", "M", "G", "T"] as const;

/** `40.6 M`; of what is not known, `unknown`. */
export function formatCount(value: number | null): string {
  if (value === null) return "unknown";
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, value)) / 3)));
  return power === 0 ? String(value) : `${formatDigits(value / 1000 ** power)} ${units[power]}`;
}

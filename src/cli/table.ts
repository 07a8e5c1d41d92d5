// Plain tables for terminals.
import { formatDigits } from "../report/format-digits.ts";

export type Align = "left" | "right";

/** Columns as wide as their widest cell. */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  align: readonly Align[] = [],
): string {
  const widths = header.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i].length)));
  const print = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (align[i] === "right" ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join("  ")
      .trimEnd();
  return [print(header), print(widths.map((width) => "─".repeat(width))), ...rows.map(print)].join("\n");
}

const units = ["", "k", "M", "G", "T"] as const;

/** `40.6 M` */
export function formatCount(value: number): string {
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, value)) / 3)));
  return power === 0 ? String(value) : `${formatDigits(value / 1000 ** power)} ${units[power]}`;
}

// Text for terminals: names in models, files and data are whatever their authors wrote, and must not steer what is seen.
import { escapeHidden, escapeJson } from "../report/escape-hidden.ts";

/** Of a name, or whatever else has no spaces. */
const longestWord = 200;
const longestLine = 10_000;

/** The beginning, and how much there is. */
export const shorten = (text: string, most: number): string =>
  text.length <= most ? text : `${text.slice(0, most)}… (${text.length} characters)`;

/** One line: whatever would end it, steer the terminal or turn the text is an escape, and what is absurdly long is cut. */
export function printable(line: string): string {
  const words = line.replace(/\S{201,}/gu, (word) => shorten(word, longestWord));
  const cut = words.length <= longestLine ? words : `${words.slice(0, longestLine)}… (${line.length} characters)`;
  return escapeHidden(cut);
}

/** Lines of our own making, each as `printable`. */
export const printableLines = (lines: readonly string[]): string => lines.map(printable).join("\n");

/** As one line of JSON, whole, without characters that are not seen. */
export const printableJson = (value: object): string => escapeJson(JSON.stringify(value));

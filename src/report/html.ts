// Builds HTML with everything escaped that is not HTML already.
import { escapeHidden } from "./escape-hidden.ts";

export interface Html {
  readonly html: string;
}

type Content = Html | string | number | readonly Content[];

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};
export const escapeHtml = (text: string): string =>
  escapeHidden(text, "\n\t").replace(/[&<>"']/g, (character) => entities[character]);

const isHtml = (content: Content): content is Html => typeof content === "object" && "html" in content;

function print(content: Content): string {
  if (isHtml(content)) return content.html;
  if (Array.isArray(content)) return content.map(print).join("");
  return escapeHtml(String(content));
}

/** A template whose values are escaped, except those made by this function or `trusted`. */
export const html = (strings: TemplateStringsArray, ...values: readonly Content[]): Html => ({
  html: strings.reduce((text, part, i) => text + print(values[i - 1]) + part),
});

/** Marks text as HTML; only for what we made ourselves. */
export const trusted = (text: string): Html => ({ html: text });

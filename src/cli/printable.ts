// Text for terminals.

/** Control characters as escapes: names in a model are whatever its author wrote, and must not steer the terminal. */
export const printable = (text: string): string =>
  text.replace(/[^\P{Cc}\n\t]/gu, (character) => `\\x${(character.codePointAt(0) ?? 0).toString(16).padStart(2, "0")}`);

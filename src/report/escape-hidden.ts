// Characters that are not seen, and change what is.

/** Control characters, those that turn or join text, line separators, and halves of characters. */
const hidden = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

const escapeOne = (character: string): string => {
  const code = character.codePointAt(0) ?? 0;
  return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
};

/** All of them as escapes, except those that `keep` has. */
export const escapeHidden = (text: string, keep = ""): string =>
  text.replace(hidden, (character) => (keep.includes(character) ? character : escapeOne(character)));

/** The same JSON, in which they are JSON's escapes. They can only be within its strings. */
export const escapeJson = (json: string): string =>
  json.replace(hidden, (character) =>
    Array.from(
      { length: character.length },
      (_, i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, "0")}`,
    ).join(""),
  );

// The documents that people read, their blocks of code, and the commands in these.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const root = join(import.meta.dirname, "../..");

const below = (folder: string): readonly string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".md"))
    .map((file) => join(folder, file));

/** Paths from the root of the repository: README.md, docs/, and the READMEs of the examples. */
export const documents: readonly string[] = ["README.md", ...below("docs"), ...below("examples")].filter((file) =>
  existsSync(join(root, file)),
);

export const textOf = (file: string): string => readFileSync(join(root, file), "utf8");

export interface Block {
  readonly file: string;
  /** `README.md:12` */
  readonly where: string;
  /** What stands behind the three backticks: "sh", "js runnable", or nothing. */
  readonly language: string;
  readonly code: string;
}

export function blocksOf(file: string): readonly Block[] {
  const text = textOf(file);
  return [...text.matchAll(/^```([^\n`]*)\n(.*?)^```$/gms)].map(({ 1: language, 2: code, index }) => ({
    file,
    where: `${file}:${text.slice(0, index).split("\n").length}`,
    language: language.trim(),
    code,
  }));
}

/** A shell script's commands, one a string: continued lines joined, comments and the text of here-documents left out. */
export function commandsIn(script: string): readonly string[] {
  const without = script.replace(/ <<'(\w+)'\n.*?^\1$/gms, "");
  return without
    .replaceAll(/ *\\\n\s*/g, " ")
    .split("\n")
    .flatMap((line) => line.replace(/(^|\s)#.*$/, "").split(" && "))
    .map((command) => command.trim())
    .filter((command) => command !== "");
}

/** A command's words, as a shell takes them: with quotes, without expansions. */
export const wordsOf = (command: string): readonly string[] =>
  [...command.matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g)].map(([word]) => word.replaceAll(/['"]/g, ""));

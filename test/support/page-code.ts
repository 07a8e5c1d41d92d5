// The code of pages that tell how to add something, laid over the sources in memory and compiled.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import ts from "typescript";
import { type Block, blocksOf, root } from "./markdown.ts";

/** A new file, or lines to add to one that exists. */
export interface Piece {
  readonly path: string;
  readonly kind: "ts" | "diff";
  readonly code: string;
}

const pieceOf = ({ language, code }: Block): Piece[] => {
  const [kind, path] = language.split(" ");
  return path !== undefined && (kind === "ts" || kind === "diff") ? [{ path, kind, code }] : [];
};

export const piecesOf = (page: string): readonly Piece[] => blocksOf(page).flatMap(pieceOf);

/** Lines that begin with a space are looked for in order; those that begin with + go behind the last one found. */
function patched(path: string, diff: string): string {
  const lines = readFileSync(join(root, path), "utf8").split("\n");
  let at = 0;
  for (const line of diff.trimEnd().split("\n")) {
    const text = line.slice(1);
    if (line.startsWith("+")) lines.splice(at++, 0, text);
    else {
      const found = lines.indexOf(text, at);
      if (found < 0) throw new Error(`${path} has no line "${text}"`);
      at = found + 1;
    }
  }
  return lines.join("\n");
}

const sourceOf = ({ path, kind, code }: Piece): string => (kind === "ts" ? code : patched(path, code));

/** Files as they are, read once for all programs. */
const parsed = new Map<string, ts.SourceFile>();

/** What the compiler says of the pieces' files and of `also`. */
export function compileErrors(pieces: readonly Piece[], also: readonly string[] = []): readonly string[] {
  const overlay = new Map(pieces.map((piece) => [join(root, piece.path), sourceOf(piece)]));
  const { options } = ts.convertCompilerOptionsFromJson(
    ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile).config.compilerOptions,
    root,
  );
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists, readFile } = host;
  host.fileExists = (file) => overlay.has(file) || fileExists(file);
  const folders = new Set([...overlay.keys()].map(dirname));
  const { directoryExists } = host;
  host.directoryExists = (folder) => folders.has(folder) || directoryExists?.(folder) === true;
  host.readFile = (file) => overlay.get(file) ?? readFile(file);
  host.getSourceFile = (file, language) => {
    const text = overlay.get(file);
    if (text !== undefined) return ts.createSourceFile(file, text, language);
    return parsed.get(file) ?? getSourceFile(file, language);
  };
  const names = [...overlay.keys(), ...also.map((file) => join(root, file))];
  const program = ts.createProgram(names, options, host);
  for (const file of program.getSourceFiles()) if (!overlay.has(file.fileName)) parsed.set(file.fileName, file);
  return names.flatMap((name) =>
    program
      .getSemanticDiagnostics(program.getSourceFile(name))
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n")),
  );
}

// Whether the files of a run are still those that its report states.
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import type { Source } from "../data/dataset.ts";
import { FrostbitError } from "../ir/errors.ts";
import { type Report, reportSchema } from "../report/report.ts";
import { digestOfSource } from "./digest-data.ts";
import { digestOfBytes, digestOfFile, type FileDigest } from "./file-digest.ts";
import { fileSource } from "./file-source.ts";
import { readBytes } from "./storage.ts";
import { versions } from "./versions.ts";

/** What is verified besides the folder. */
export interface VerifyRunOptions {
  /** Where the model as given is now; where the report says it was, if absent. */
  readonly modelPath?: string;
  /** Opens the data of the run as then: `openData`, with the run's seed, which chose what was held out. */
  readonly openSource?: (seed: number) => Promise<Source>;
}

/** One thing that a report states. */
export interface RunCheck {
  readonly what: string;
  /** "missing": a file of the folder that is not there. "not checked": what is not at hand, or what the run did not state. */
  readonly status: "same" | "differs" | "missing" | "not checked";
  /** The digest that the report states; `null` where it states none. */
  readonly stated: string | null;
  /** The digest of what is there; `null` where nothing was read. */
  readonly found: string | null;
}

/** What `verifyRun` found. */
export interface RunVerification {
  /** Whether nothing differs and no file of the folder is missing. */
  readonly ok: boolean;
  readonly checks: readonly RunCheck[];
  /** Files and links in the folder that the report says nothing of: no run wrote them, or another did. */
  readonly unstated: readonly string[];
  /** What is installed now in another version than the run had: no difference of the files. */
  readonly versions: readonly { readonly name: string; readonly run: string; readonly now: string }[];
}

/**
 * Compares what a run left in a folder with the digests in its `report.json`: the model given, with its external data, the files
 * written, the page, and the data, where it is given. Throws IO or BAD_DATA where the report cannot be read.
 *
 * @example
 * const { ok, checks } = await verifyRun("out");
 */
export async function verifyRun(
  out: string,
  { modelPath, openSource }: VerifyRunOptions = {},
): Promise<RunVerification> {
  const bytes = await readBytes(join(out, "report.json"));
  const report = readReport(join(out, "report.json"), bytes);
  checkNames(join(out, "report.json"), report);
  const { renderHtml } = await import("../report/render-html.ts");
  // The page states the digest of the report: what is changed there changes the page that belongs to it.
  const page = renderHtml(report, digestOfBytes(bytes).sha256);
  const checks = [
    ...checkInput(report, modelPath ?? report.input.path),
    ...report.files.map(({ name, sha256 }) => check(name, sha256, digestAt(join(out, name)), "missing")),
    check("report.html", digestOfBytes(page).sha256, digestAt(join(out, "report.html")), "missing"),
    ...(await checkData(report, openSource)),
  ];
  const isSound = ({ status }: RunCheck): boolean => status === "same" || status === "not checked";
  const stated = [...report.files.map(({ name }) => name), "report.json", "report.html"];
  return { ok: checks.every(isSound), checks, unstated: filesBeside(out, stated), versions: changedVersions(report) };
}

function filesBeside(out: string, stated: readonly string[]): readonly string[] {
  const known = new Set(stated);
  return namesIn(out)
    .filter((name) => !known.has(name))
    .toSorted();
}

/** Links are named, and not followed. */
const namesIn = (folder: string, inside = ""): readonly string[] =>
  readdirSync(join(folder, inside), { withFileTypes: true }).flatMap((entry) => {
    const name = `${inside}${entry.name}`;
    return entry.isDirectory() ? namesIn(folder, `${name}/`) : [name];
  });

function readReport(path: string, bytes: Uint8Array): Report {
  const text = new TextDecoder().decode(bytes);
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw new FrostbitError("BAD_DATA", `${path} is no JSON; expected the report of a run. It is damaged.`, { cause });
  }
  const parsed = reportSchema.safeParse(content);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new FrostbitError(
    "BAD_DATA",
    `${path} is not a report of this version: ${issue.path.join(".") || "it"}: ${issue.message}. It is damaged, or an older Frostbit wrote it, which stated no digests.`,
  );
}

/** A run writes below its folder: a report that names files elsewhere is none of a run's. */
function checkNames(path: string, { files }: Report): void {
  const outside = files.find(({ name }) => isAbsolute(name) || name.split(/[\\/]/).includes(".."));
  if (outside)
    throw new FrostbitError(
      "BAD_DATA",
      `${path} names "${outside.name}", which is not in its folder. It is damaged, or no run wrote it.`,
    );
}

function check(
  what: string,
  stated: string | null,
  found: FileDigest | undefined,
  otherwise: "missing" | "not checked",
): RunCheck {
  if (!found || stated === null)
    return { what, status: stated === null ? "not checked" : otherwise, stated, found: null };
  return { what, status: found.sha256 === stated ? "same" : "differs", stated, found: found.sha256 };
}

/** `undefined` where there is no such file. */
const digestAt = (path: string): FileDigest | undefined =>
  statSync(path, { throwIfNoEntry: false })?.isFile() === true ? digestOfFile(fileSource(path)) : undefined;

/** The model may be elsewhere by now; its external data lies beside it. */
function checkInput({ input }: Report, path: string): readonly RunCheck[] {
  return [
    check(`model as given: ${path}`, input.sha256, digestAt(path), "not checked"),
    ...input.externalData.map(({ path: location, sha256 }) => {
      const file = join(dirname(path), location);
      return check(`its external data: ${file}`, sha256, digestAt(file), existsSync(path) ? "missing" : "not checked");
    }),
  ];
}

async function checkData(
  { data, seed, options }: Report,
  openSource: VerifyRunOptions["openSource"],
): Promise<readonly RunCheck[]> {
  const limit = typeof options["limit"] === "number" ? options["limit"] : undefined;
  const found = openSource && data.digest ? await digestOfSource(await openSource(seed), limit) : undefined;
  return (["train", "test"] as const).map((split): RunCheck => {
    const stated = data.digest?.[split] ?? null;
    const now = found?.[split] ?? null;
    const status = now === null ? "not checked" : now === stated ? "same" : "differs";
    return { what: `${split} data`, status, stated, found: now };
  });
}

function changedVersions(report: Report): RunVerification["versions"] {
  return Object.entries(versions()).flatMap(([name, now]) => {
    const run = report.versions[name];
    return run === undefined || run === now ? [] : [{ name, run, now }];
  });
}

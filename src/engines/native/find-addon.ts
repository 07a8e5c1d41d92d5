// Finds the addon: what this clone built, else the optional package that brings it ready-made.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { arch, platform } from "node:os";
import { dirname, join } from "node:path";
import { FrostbitError } from "../../ir/errors.ts";

export interface FoundAddon {
  readonly path: string;
  readonly origin: "built here" | "package";
}

const built = join("native", "build", "frostbit.node");

/** The package with the addon for this platform; made by `npm run prebuild`. */
const addonPackage = `frostbit-native-${platform()}-${arch()}`;

const packagedFor: ReadonlySet<string> = new Set(["frostbit-native-linux-x64", "frostbit-native-linux-arm64"]);

/** Whether it was measured to be faster than ONNX Runtime on processors like this (docs/decisions/0039). */
export const isMeasuredHere = arch() === "x64";

/** The folder of the package or clone that this file belongs to, compiled or not. */
export function ownFolder(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, "package.json")) && folder !== dirname(folder)) folder = dirname(folder);
  return folder;
}

const versionIn = (manifest: string): string =>
  (JSON.parse(readFileSync(manifest, "utf8")) as { version: string }).version;

/** The one thing to do where there is no addon that works. */
function howToInstall(): string {
  const own = ownFolder();
  if (existsSync(join(own, "native", "src"))) return "apt-get install -y g++ libdnnl-dev && npm run build:native";
  return `npm install ${addonPackage}@${versionIn(join(own, "package.json"))}`;
}

const whyMissing = (): string =>
  packagedFor.has(addonPackage)
    ? `The native engine is not installed: there is neither ${built} nor the package ${addonPackage}. Install it: ${howToInstall()}`
    : `The native engine is for Linux on x64 and arm64, not for ${platform()} ${arch()}. Use onnxruntime, which runs what it runs.`;

/** Plans are an agreement between equal versions. */
function checkVersion(manifest: string): void {
  const [theirs, ours] = [versionIn(manifest), versionIn(join(ownFolder(), "package.json"))];
  if (theirs === ours) return;
  throw new FrostbitError(
    "ENGINE",
    `${addonPackage} is version ${theirs}; frostbit ${ours} needs the same. Install it: ${howToInstall()}`,
  );
}

function findAddon(): FoundAddon | undefined {
  const local = join(ownFolder(), built);
  if (existsSync(local)) return { path: local, origin: "built here" };
  const require = createRequire(import.meta.url);
  let manifest: string;
  try {
    manifest = require.resolve(`${addonPackage}/package.json`);
  } catch {
    return undefined;
  }
  checkVersion(manifest);
  return { path: join(dirname(manifest), "frostbit.node"), origin: "package" };
}

export function requireAddon(): { readonly addon: Readonly<Record<string, unknown>>; readonly found: FoundAddon } {
  const found = findAddon();
  if (found === undefined) throw new FrostbitError("ENGINE", whyMissing());
  try {
    return { addon: createRequire(import.meta.url)(found.path), found };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new FrostbitError(
      "ENGINE",
      `The native engine cannot be loaded from ${found.path}: ${reason}. Install it: ${howToInstall()}`,
      { cause },
    );
  }
}

/** Whether the addon was built here, from sources that have changed since. */
function isOlderThanSources({ path, origin }: FoundAddon): boolean {
  const sources = join(ownFolder(), "native", "src");
  if (origin !== "built here" || !existsSync(sources)) return false;
  const builtAt = statSync(path).mtimeMs;
  return readdirSync(sources, { recursive: true, encoding: "utf8" }).some(
    (file) => statSync(join(sources, file)).mtimeMs > builtAt,
  );
}

const ofAnotherVersion = ({ path }: FoundAddon, reason: string, cause?: unknown): FrostbitError =>
  new FrostbitError(
    "ENGINE",
    `The native engine's addon ${path} was built from another version of its sources: ${reason}. Build or install it again: ${howToInstall()}`,
    { cause },
  );

/** What a refused plan means: the addon is of another version than what planned, or the fault is ours. */
export function planError(found: FoundAddon, cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message : String(cause);
  if (reason.startsWith("there is no kernel") || isOlderThanSources(found))
    return ofAnotherVersion(found, reason, cause);
  return cause instanceof Error ? cause : new Error(reason);
}

const methods: Readonly<Record<string, readonly string[]>> = {
  Memory: ["write", "read", "dispose"],
  Program: ["run", "abort", "describe", "times", "dispose"],
};

const functions = ["information", "endAfterSignal", "removeAtSignal"];

/** Throws ENGINE where the addon lacks what this version calls. */
export function checkMethods(addon: Readonly<Record<string, unknown>>, found: FoundAddon): void {
  for (const [name, names] of Object.entries(methods)) {
    const made = addon[name];
    const missing = typeof made === "function" ? names.find((method) => !(method in made.prototype)) : "constructor";
    if (missing !== undefined) throw ofAnotherVersion(found, `there is no ${name}.${missing}`);
  }
  const lacking = functions.find((name) => typeof addon[name] !== "function");
  if (lacking !== undefined) throw ofAnotherVersion(found, `there is no ${lacking}`);
}

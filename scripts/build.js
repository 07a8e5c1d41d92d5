// Builds the package into dist/, with nothing left of an earlier build: types file by file, the modules joined into a few files,
// since each that a command loads is a millisecond of its start. The command is executable. What is newer than its sources stays.
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { rolldown } from "rolldown";

const root = join(import.meta.dirname, "..");
const dist = join(root, "dist");

/** What is imported or started from outside. */
const entries = ["index", "browser/index", "cli/main", "cli/unit-process", "cli/inspect-worker"];

const command = join(dist, "cli", "main.js");
/** Written when all is built; as old as the start of that. */
const stamp = join(root, "build", "dist-stamp");

const timeOf = (path) => statSync(path).mtimeMs;

/** Folders too: where a file goes, its folder changes. */
function isFresh() {
  if (!existsSync(stamp) || !existsSync(command)) return false;
  const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" }).map((name) =>
    join("src", name),
  );
  const others = ["src", "scripts/build.js", "package-lock.json", "tsconfig.json", "tsconfig.build.json"];
  const built = timeOf(stamp);
  return [...sources, ...others].every((name) => timeOf(join(root, name)) < built);
}

/** Each module as a file of its own, with its types. */
function compile() {
  rmSync(dist, { recursive: true, force: true });
  const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  const { status } = spawnSync(process.execPath, [tsc, "-p", join(root, "tsconfig.build.json")], { stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}

/** What several entries share is in dist/parts/: as deep as modules were, which find other files from their own place. */
async function joinModules() {
  const bundle = await rolldown({
    input: Object.fromEntries(entries.map((entry) => [entry, join(dist, `${entry}.js`)])),
    platform: "node",
    external: /^[^./]/,
  });
  const names = readdirSync(dist, { recursive: true, encoding: "utf8" });
  const { output } = await bundle.write({ dir: dist, chunkFileNames: "parts/[name].js" });
  await bundle.close();
  const kept = new Set(output.map(({ fileName }) => fileName));
  for (const name of names.filter((each) => each.endsWith(".js") && !kept.has(each))) rmSync(join(dist, name));
}

if (!isFresh()) {
  const started = new Date();
  rmSync(stamp, { force: true });
  compile();
  await joinModules();
  chmodSync(command, 0o755);
  mkdirSync(join(root, "build"), { recursive: true });
  writeFileSync(stamp, "");
  utimesSync(stamp, started, started);
}

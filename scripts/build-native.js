// Builds native/build/frostbit.node with one compiler call per file: no node-gyp, no download.
// --arch arm64|x64: for another processor, into native/build/arm64 or x64. --if-possible: where something is missing, say so and
// succeed. FROSTBIT_SANITIZE=address|thread: into native/build/address or thread instead. FROSTBIT_ONEDNN=FOLDER: oneDNN from
// FOLDER/include and FOLDER/lib or lib64, not from the system.
import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { parseArgs, promisify } from "node:util";
import { architectures } from "./architectures.js";

const { values: options } = parseArgs({
  options: { arch: { type: "string", default: process.arch }, "if-possible": { type: "boolean" } },
});
const { arch } = options;
const isForeign = arch !== process.arch;
const { tuple, debian } = architectures[arch] ?? {};
const root = join(import.meta.dirname, "..");
const source = join(root, "native", "src");
const sanitizer = process.env["FROSTBIT_SANITIZE"];
const build = join(root, "native", "build", isForeign ? arch : "", sanitizer ?? "");
const require = createRequire(import.meta.url);
const compiler = process.env["CXX"] ?? (isForeign ? `${tuple}-g++` : "g++");
const installLine = isForeign
  ? `dpkg --add-architecture ${debian} && apt-get update && apt-get install -y g++-${tuple} libdnnl-dev libdnnl2:${debian}`
  : "apt-get install -y g++ libdnnl-dev";
const onednn = process.env["FROSTBIT_ONEDNN"] && resolve(process.env["FROSTBIT_ONEDNN"]);

const avx512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mf16c"];

/** Kernels are compiled once per instruction set; what ships never uses -march=native. */
const instructionSets = {
  generic: [],
  avx2: ["-mavx2", "-mfma", "-mf16c"],
  avx512,
  avx512_bf16: [...avx512, "-mavx512bf16", "-mavx512vnni"],
};

function missing() {
  if (process.platform !== "linux") return `the native engine is built on Linux only, not on ${process.platform}`;
  if (tuple === undefined) return `there is none for ${arch}, only for ${Object.keys(architectures).join(" and ")}`;
  const version = spawnSync(compiler, ["--version"]);
  if (version.status !== 0) return `there is no C++ compiler (${compiler}); install it: ${installLine}`;
  if (onednn) {
    const lacking = ["include/oneapi/dnnl/dnnl.hpp", libraryIn(onednn) ?? "lib/libdnnl.so"].find(
      (file) => !existsSync(join(onednn, file)),
    );
    return lacking && `FROSTBIT_ONEDNN is ${onednn}, where there is no ${lacking}`;
  }
  const probe = spawnSync(compiler, ["-x", "c++", "-M", "-"], { input: "#include <oneapi/dnnl/dnnl.hpp>\n" });
  if (probe.status !== 0) return `there is no oneDNN (oneapi/dnnl/dnnl.hpp); install it: ${installLine}`;
  if (isForeign && foreignLibrary() === undefined) return `there is no oneDNN for ${arch}; install it: ${installLine}`;
  return undefined;
}

/** Debian's headers are of one architecture alone, and so is the name without a version; the library's own name is not. */
function foreignLibrary() {
  const folder = join("/usr/lib", tuple);
  const name = existsSync(folder) && readdirSync(folder).find((file) => /^libdnnl\.so\.\d+$/.test(file));
  return name ? join(folder, name) : undefined;
}

/** Where distributions put it, relative to the folder. */
const libraryIn = (folder) =>
  ["lib", "lib64", `lib/${tuple}`]
    .map((each) => join(each, "libdnnl.so"))
    .find((file) => existsSync(join(folder, file)));

const headers = () => [
  ...(onednn ? ["-isystem", join(onednn, "include")] : []),
  "-isystem",
  join(dirname(require.resolve("node-api-headers/package.json")), "include"),
  "-isystem",
  dirname(require.resolve("node-addon-api/package.json")),
];

const flags = () => [
  ...["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math", "-fopenmp"],
  ...["-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-DNAPI_VERSION=8", "-DNAPI_CPP_EXCEPTIONS"],
  // A worker thread may be terminated while a program runs: then there is nobody to throw at.
  "-DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
  ...(sanitizer ? ["-g", `-fsanitize=${sanitizer}`] : []),
  ...headers(),
];

/** The instruction sets of files that are compiled for one alone; their objects end with its name. */
const wider = {
  "bfloat16-tiles.cpp": "avx512_bf16",
  "dynamic-input-gradient.cpp": "avx512_bf16",
  "weight-gradient.cpp": "avx512_bf16",
  "winograd.cpp": "avx512",
  "winograd-bfloat16.cpp": "avx512_bf16",
};

/** What objects were made with, if not with what would make them now, goes. */
function removeOthers() {
  const note = join(build, "made-with.json");
  const wanted = `${JSON.stringify({ compiler, flags: flags() })}\n`;
  if (existsSync(note) && readFileSync(note, "utf8") === wanted) return;
  for (const file of readdirSync(build).filter((each) => each.endsWith(".o"))) rmSync(join(build, file));
  writeFileSync(note, wanted);
}

/** Object files with what makes them. */
function objects() {
  const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".cpp"));
  const isX64 = arch === "x64";
  return files.flatMap((file) => {
    const name = file.replaceAll("/", "-").slice(0, -".cpp".length);
    const object = (suffix, flags) => ({ file: join(source, file), object: join(build, `${name}${suffix}.o`), flags });
    if (isX64 && wider[file]) return [object(`-${wider[file]}`, instructionSets[wider[file]])];
    if (file !== "kernels.cpp") return [object("", [])];
    const sets = isX64 ? Object.entries(instructionSets) : [["generic", []]];
    return sets.map(([set, options]) =>
      object(`-${set}`, [...options, `-DFROSTBIT_KERNELS=kernels_${set}`, `-DFROSTBIT_ISA="${set}"`]),
    );
  });
}

/** Objects of sources that are gone or are compiled otherwise now. */
function removeLeftovers(all) {
  const current = new Set(all.map(({ object }) => object));
  for (const file of readdirSync(build).filter((each) => each.endsWith(".o")))
    if (!current.has(join(build, file))) rmSync(join(build, file));
}

const newestHeader = () =>
  Math.max(
    statSync(import.meta.filename).mtimeMs,
    ...readdirSync(source, { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".h"))
      .map((file) => statSync(join(source, file)).mtimeMs),
  );

/** What is as new as its sources stays. */
const isFresh = ({ file, object }, headersTime) =>
  existsSync(object) && statSync(object).mtimeMs > Math.max(statSync(file).mtimeMs, headersTime);

const run = promisify(execFile);

async function compileAll(list) {
  const queue = [...list];
  const work = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      console.log(`compiling ${relative(root, next.object)}`);
      await run(compiler, [...flags(), ...next.flags, "-c", next.file, "-o", next.object]);
    }
  };
  await Promise.all([work(), work()]);
}

const isLinked = (target, all) =>
  existsSync(target) && all.every(({ object }) => statSync(object).mtimeMs < statSync(target).mtimeMs);

/** Libraries beside the addon come first, for it and for what they link themselves: that takes the older kind of run path. */
const runPath = (folders) => `-Wl,--disable-new-dtags,-rpath,${["$ORIGIN", ...folders].join(":")}`;

async function link(target, all) {
  const folders = onednn ? [dirname(join(onednn, libraryIn(onednn)))] : [];
  const search = folders.map((folder) => `-L${folder}`);
  const options = ["-shared", ...(sanitizer ? [`-fsanitize=${sanitizer}`] : []), runPath(folders), ...search];
  const libraries = [isForeign && !onednn ? foreignLibrary() : "-ldnnl", "-fopenmp", "-lpthread"];
  // Under another name first: a process may have the old one loaded.
  await run(compiler, [...options, "-o", `${target}.new`, ...all.map(({ object }) => object), ...libraries]);
  renameSync(`${target}.new`, target);
}

async function main() {
  const problem = missing();
  if (problem) {
    console.log(`The native engine was not built: ${problem}`);
    process.exitCode = options["if-possible"] ? 0 : 1;
    return;
  }
  mkdirSync(build, { recursive: true });
  removeOthers();
  const all = objects();
  removeLeftovers(all);
  const headersTime = newestHeader();
  await compileAll(all.filter((object) => !isFresh(object, headersTime)));
  const target = join(build, "frostbit.node");
  if (!isLinked(target, all)) await link(target, all);
  console.log(`built ${relative(root, target)}`);
}

try {
  await main();
} catch (error) {
  console.error(error.stderr ?? error);
  process.exitCode = 1;
}

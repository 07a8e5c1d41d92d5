// Makes what a release ships for Linux, in build/packages or the folder given: for each --arch (x64, arm64; this machine's where
// none is named) the package with the addon and all that it links but the C and C++ libraries, and the main package that lists
// them. --as-built: builds nothing first.
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { architectures } from "./architectures.js";

const root = join(import.meta.dirname, "..");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const nameFor = (arch) => `frostbit-native-linux-${arch}`;

/** Every Linux with Node has these. */
const systemLibraries = /^(linux-vdso|ld-linux|libc|libm|libstdc\+\+|libgcc_s|libpthread|libdl|librt)[.-]/;

const run = (command, ...words) => execFileSync(command, words, { cwd: root, encoding: "utf8" });

/** npm calls a script of this name before `npm run build` as well; there it has nothing to do. */
function isHookOfBuild() {
  for (let id = process.ppid; id > 1; ) {
    const title = readFileSync(`/proc/${id}/cmdline`, "utf8").replaceAll("\0", " ").trim();
    if (title.startsWith("npm ")) return /^npm (run|run-script|rum|urn) build\b/.test(title);
    id = Number(/^\d+ \(.*\) \S (\d+)/s.exec(readFileSync(`/proc/${id}/stat`, "utf8"))?.[1] ?? 0);
  }
  return false;
}

/** What a file says to the loader. */
function dynamicSection(file) {
  const text = run("readelf", "--dynamic", "--wide", file);
  const all = (tag) => [...text.matchAll(new RegExp(`\\(${tag}\\).*\\[(.*)\\]`, "g"))].map(([, value]) => value);
  return { needed: all("NEEDED"), folders: all("R(?:UN)?PATH").flatMap((path) => path.split(":")) };
}

/** What the addon links, and what that links, by the names that they ask for. The processor may be another one than this. */
function linkedLibraries(addon, arch) {
  const system = `/usr/lib/${architectures[arch].tuple}`;
  const folders = [...dynamicSection(addon).folders, system, system.slice("/usr".length)];
  const found = new Map();
  const visit = (file) => {
    for (const soname of dynamicSection(file).needed.filter(
      (each) => !systemLibraries.test(each) && !found.has(each),
    )) {
      const path = folders.map((folder) => join(folder, soname)).find(existsSync);
      if (path === undefined) throw new Error(`${file} links ${soname}, which is in none of ${folders.join(", ")}.`);
      found.set(soname, path);
      visit(path);
    }
  };
  visit(addon);
  return [...found].map(([soname, path]) => ({ soname, path }));
}

/** The Debian package that a file came with, and the source it was built from. */
function debianPackage(path) {
  const real = realpathSync(path);
  const owners = [real, real.replace(/^\/usr/, "")].map((file) => {
    const { status, stdout } = spawnSync("dpkg", ["-S", file], { encoding: "utf8" });
    return status === 0 ? stdout.split(": ")[0] : undefined;
  });
  const owner = owners.find((each) => each !== undefined);
  if (owner === undefined) throw new Error(`${real} belongs to no Debian package, so that its licence is unknown.`);
  const [binary] = owner.split(":");
  const field = (name) => new RegExp(`^${name}: (.*)$`, "m").exec(run("dpkg", "-s", owner))?.[1];
  const source = `${field("Source") ?? binary} ${field("Version")}`;
  return { binary, source };
}

/** Debian's copyright files, and the common licences that they refer to. */
function copyLicences(libraries, folder) {
  mkdirSync(folder, { recursive: true });
  for (const { binary } of libraries) {
    const copyright = `/usr/share/doc/${binary}/copyright`;
    copyFileSync(copyright, join(folder, `${binary}.txt`));
    const text = readFileSync(copyright, "utf8");
    for (const [path, licence] of text.matchAll(/\/usr\/share\/common-licenses\/([\w.-]*\w)/g))
      if (existsSync(path)) copyFileSync(path, join(folder, licence));
  }
}

const readme = (arch, libraries) => `# ${nameFor(arch)}

The native engine of [frostbit](https://www.npmjs.com/package/frostbit) for Linux on ${arch} (glibc), of the same version. frostbit finds it by itself; \`frostbit doctor\` shows it.

The addon \`frostbit.node\` is under the MIT licence. The libraries beside it are Debian's, unchanged, under the licences in \`licenses/\`; their sources are Debian's source packages:

${libraries.map(({ soname, source }) => `- \`${soname}\`: ${source}`).join("\n")}
`;

const nativeManifest = (arch) => ({
  name: nameFor(arch),
  version: manifest.version,
  description: `The native engine of frostbit for Linux on ${arch}.`,
  license: "MIT AND Apache-2.0 AND BSD-2-Clause AND BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1",
  main: "frostbit.node",
  os: ["linux"],
  cpu: [arch],
  libc: ["glibc"],
  engines: manifest.engines,
});

const pack = (folder, out) =>
  run("npm", "pack", folder, "--ignore-scripts", "--silent", "--pack-destination", out).trim();

function packAddon(arch, scratch, out) {
  const addon = join(root, "native", "build", arch === process.arch ? "" : arch, "frostbit.node");
  if (!existsSync(addon))
    throw new Error(`There is no ${relative(root, addon)}: npm run build:native -- --arch ${arch}`);
  const folder = join(scratch, nameFor(arch));
  mkdirSync(folder);
  const libraries = linkedLibraries(addon, arch).map((library) => ({ ...library, ...debianPackage(library.path) }));
  run(`${architectures[arch].tuple}-strip`, "--strip-unneeded", "-o", join(folder, basename(addon)), addon);
  for (const { soname, path } of libraries) copyFileSync(realpathSync(path), join(folder, soname));
  copyLicences(libraries, join(folder, "licenses"));
  copyFileSync(join(root, "LICENSE"), join(folder, "LICENSE"));
  writeFileSync(join(folder, "README.md"), readme(arch, libraries));
  writeFileSync(join(folder, "package.json"), `${JSON.stringify(nativeManifest(arch), null, 2)}\n`);
  return pack(folder, out);
}

/** Only what is released lists the other packages: in a clone there are none of this version yet. */
function packMain(archs, scratch, out) {
  run("tar", "-xzf", join(scratch, pack(root, scratch)), "-C", scratch);
  const folder = join(scratch, "package");
  const listed = {
    ...manifest,
    optionalDependencies: Object.fromEntries(archs.map((arch) => [nameFor(arch), manifest.version])),
  };
  writeFileSync(join(folder, "package.json"), `${JSON.stringify(listed, null, 2)}\n`);
  return pack(folder, out);
}

function main() {
  const { values, positionals } = parseArgs({
    options: {
      arch: { type: "string", multiple: true, default: [process.arch] },
      "as-built": { type: "boolean" },
    },
    allowPositionals: true,
  });
  const other = values.arch.find((arch) => !(arch in architectures));
  if (process.platform !== "linux" || other !== undefined) {
    const known = Object.keys(architectures).join(" and ");
    console.log(
      `The native engine is packed on Linux for ${known}, not on ${process.platform} for ${other ?? values.arch}.`,
    );
    return;
  }
  if (isHookOfBuild()) return;
  if (!values["as-built"]) {
    for (const arch of values.arch) run("node", join("scripts", "build-native.js"), "--arch", arch);
    run("node", join("scripts", "build.js"));
  }
  const out = resolve(positionals[0] ?? join(root, "build", "packages"));
  const scratch = join(out, "scratch");
  rmSync(scratch, { recursive: true, force: true });
  mkdirSync(scratch, { recursive: true });
  for (const made of [...values.arch.map((arch) => packAddon(arch, scratch, out)), packMain(values.arch, scratch, out)])
    console.log(`made ${relative(process.cwd(), join(out, made))}`);
  rmSync(scratch, { recursive: true });
}

try {
  main();
} catch (error) {
  console.error(error.stdout || error.message);
  process.exitCode = 1;
}

// Makes what a release ships for linux-x64, in build/packages or the folder given: the package with the addon and all that it
// links but the C and C++ libraries, and the main package that lists it. --as-built: builds nothing first.
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { arch, platform } from "node:os";
import { basename, join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";

const root = join(import.meta.dirname, "..");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const name = `frostbit-native-${platform()}-${arch()}`;

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

/** What the addon links, by the name that it asks for. */
function linkedLibraries(addon) {
  const found = [...run("ldd", addon).matchAll(/^\s*(\S+) => (\/\S+)/gm)].map(([, soname, path]) => ({ soname, path }));
  return found.filter(({ soname }) => !systemLibraries.test(soname));
}

/** The Debian package that a file came with, and the source it was built from. */
function debianPackage(path) {
  const real = realpathSync(path);
  const owners = [real, real.replace(/^\/usr/, "")].map((file) => {
    const { status, stdout } = spawnSync("dpkg", ["-S", file], { encoding: "utf8" });
    return status === 0 ? stdout.split(":")[0] : undefined;
  });
  const binary = owners.find((each) => each !== undefined);
  if (binary === undefined) throw new Error(`${real} belongs to no Debian package, so that its licence is unknown.`);
  const field = (name) => new RegExp(`^${name}: (.*)$`, "m").exec(run("dpkg", "-s", binary))?.[1];
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

const readme = (libraries) => `# ${name}

The native engine of [frostbit](https://www.npmjs.com/package/frostbit) for ${platform()} ${arch()} (glibc), of the same version. frostbit finds it by itself; \`frostbit doctor\` shows it.

The addon \`frostbit.node\` is under the MIT licence. The libraries beside it are Debian's, unchanged, under the licences in \`licenses/\`; their sources are Debian's source packages:

${libraries.map(({ soname, source }) => `- \`${soname}\`: ${source}`).join("\n")}
`;

const nativeManifest = () => ({
  name,
  version: manifest.version,
  description: `The native engine of frostbit for ${platform()} ${arch()}.`,
  license: "MIT AND Apache-2.0 AND BSD-2-Clause AND BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1",
  main: "frostbit.node",
  os: [platform()],
  cpu: [arch()],
  libc: ["glibc"],
  engines: manifest.engines,
});

const pack = (folder, out) =>
  run("npm", "pack", folder, "--ignore-scripts", "--silent", "--pack-destination", out).trim();

function packAddon(scratch, out) {
  const addon = join(root, "native", "build", "frostbit.node");
  if (!existsSync(addon)) throw new Error("There is no native/build/frostbit.node: npm run build:native");
  const folder = join(scratch, name);
  mkdirSync(folder);
  const libraries = linkedLibraries(addon).map((library) => ({ ...library, ...debianPackage(library.path) }));
  run("strip", "--strip-unneeded", "-o", join(folder, basename(addon)), addon);
  for (const { soname, path } of libraries) copyFileSync(realpathSync(path), join(folder, soname));
  copyLicences(libraries, join(folder, "licenses"));
  copyFileSync(join(root, "LICENSE"), join(folder, "LICENSE"));
  writeFileSync(join(folder, "README.md"), readme(libraries));
  writeFileSync(join(folder, "package.json"), `${JSON.stringify(nativeManifest(), null, 2)}\n`);
  return pack(folder, out);
}

/** Only what is released lists the other package: in a clone there is none of this version yet. */
function packMain(scratch, out) {
  run("tar", "-xzf", join(scratch, pack(root, scratch)), "-C", scratch);
  const folder = join(scratch, "package");
  const listed = { ...manifest, optionalDependencies: { [name]: manifest.version } };
  writeFileSync(join(folder, "package.json"), `${JSON.stringify(listed, null, 2)}\n`);
  return pack(folder, out);
}

function main() {
  const { values, positionals } = parseArgs({ options: { "as-built": { type: "boolean" } }, allowPositionals: true });
  if (platform() !== "linux" || arch() !== "x64") {
    console.log(`The native engine is packed on linux x64 only, not on ${platform()} ${arch()}.`);
    return;
  }
  if (isHookOfBuild()) return;
  if (!values["as-built"]) for (const script of ["build-native.js", "build.js"]) run("node", join("scripts", script));
  const out = resolve(positionals[0] ?? join(root, "build", "packages"));
  const scratch = join(out, "scratch");
  rmSync(scratch, { recursive: true, force: true });
  mkdirSync(scratch, { recursive: true });
  for (const made of [packAddon(scratch, out), packMain(scratch, out)])
    console.log(`made ${relative(process.cwd(), join(out, made))}`);
  rmSync(scratch, { recursive: true });
}

try {
  main();
} catch (error) {
  console.error(error.stdout || error.message);
  process.exitCode = 1;
}

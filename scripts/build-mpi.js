// Builds native/build/mpi-openmpi.node or native/build/mpi-mpich.node, which run one training in several processes: FROSTBIT_MPI says
// which; without, all whose compiler is installed.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, renameSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";

const root = join(import.meta.dirname, "..");
const source = join(root, "native", "mpi", "mpi.cpp");
const build = join(root, "native", "build");
const require = createRequire(import.meta.url);

/** Debian's names: the compiler that knows where each is. */
const compilers = { openmpi: "mpicxx.openmpi", mpich: "mpicxx.mpich" };
const installLines = {
  openmpi: "apt-get install -y g++ openmpi-bin libopenmpi-dev",
  mpich: "apt-get install -y g++ mpich libmpich-dev",
};

const flags = [
  ...["-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-shared", "-Wall", "-Wextra", "-Werror"],
  ...["-DNAPI_VERSION=8", "-DNAPI_CPP_EXCEPTIONS", "-DOMPI_SKIP_MPICXX", "-DMPICH_SKIP_MPICXX"],
  ...["-isystem", join(dirname(require.resolve("node-api-headers/package.json")), "include")],
  ...["-isystem", dirname(require.resolve("node-addon-api/package.json"))],
];

const isInstalled = (name) => spawnSync(compilers[name], ["--version"]).status === 0;

function buildOne(name) {
  const target = join(build, `mpi-${name}.node`);
  mkdirSync(build, { recursive: true });
  execFileSync(compilers[name], [...flags, source, "-o", `${target}.new`], { stdio: "inherit" });
  renameSync(`${target}.new`, target);
  console.log(`built ${relative(root, target)}`);
}

const asked = process.env["FROSTBIT_MPI"];
if (asked !== undefined && !(asked in compilers)) {
  console.error(`FROSTBIT_MPI is "${asked}"; expected ${Object.keys(compilers).join(" or ")}.`);
  process.exit(1);
}
const wanted = asked === undefined ? Object.keys(compilers).filter(isInstalled) : [asked];
const missing = wanted.length === 0 ? Object.keys(compilers) : wanted.filter((name) => !isInstalled(name));
if (missing.length > 0) {
  console.error(
    `There is no MPI to build for. Install one: ${missing.map((name) => installLines[name]).join("  or  ")}`,
  );
  process.exit(1);
}
for (const name of wanted) buildOne(name);

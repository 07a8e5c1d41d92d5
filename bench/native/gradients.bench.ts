// Gradients of 3 × 3 convolutions by each way that the native engine has, one thread, 64 images, in turn. One argument: rounds.
// Wants `npm run build:native` and AVX-512-BF16. Writes bench/results/<date>-<machine>-gradients.json.
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { loadNow, root, writeResults } from "../support/machine.ts";

interface Timed {
  readonly inputs: number;
  readonly outputs: number;
  readonly size: number;
  /** Least milliseconds. */
  readonly ms: Readonly<Record<string, number>>;
}

function build(): string {
  const program = join(root, "build", "bench-native", "gradients");
  const objects = readdirSync(join(root, "native", "build"))
    .filter((file) => /^(bfloat16-tiles|weight-gradient|winograd|dispatch|kernels).*\.o$/.test(file))
    .map((file) => join(root, "native", "build", file));
  mkdirSync(dirname(program), { recursive: true });
  const flags = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", `-I${join(root, "native", "src")}`];
  const source = join(root, "bench", "native", "gradients.cpp");
  execFileSync(process.env["CXX"] ?? "g++", [...flags, source, ...objects, "-o", program, "-ldnnl", "-lpthread"], {
    stdio: "inherit",
  });
  return program;
}

const [rounds = "100"] = process.argv.slice(2);
const loadBefore = loadNow();
const env = { ...process.env, OMP_NUM_THREADS: "1" };
const lines = execFileSync(build(), [rounds], { encoding: "utf8", env }).trim().split("\n");
const layers = lines.map((line) => JSON.parse(line) as Timed);
for (const { inputs, outputs, size, ms } of layers) {
  console.log(`${inputs} to ${outputs} channels, ${size} × ${size}; ms:`);
  for (const [name, time] of Object.entries(ms)) console.log(`  ${time.toFixed(3).padStart(8)}  ${name}`);
}
writeResults("gradients", loadBefore, { rounds: Number(rounds), layers });

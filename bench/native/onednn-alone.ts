// Builds and runs the C++ bench of oneDNN alone, and reads what it prints.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { root } from "../support/machine.ts";

export interface Alone {
  readonly shape: string;
  /** How often the shape occurs in the model. */
  readonly count: number;
  readonly kind: string;
  readonly flops: number;
  readonly minMs: number;
  readonly medianMs: number;
  readonly runs: number;
  readonly implementation: string;
}

export interface AloneOptions {
  readonly model: "resnet20" | "encoder";
  readonly batch: number;
  readonly threads: number;
  /** Images of a chunk; 0: a thread's whole share. */
  readonly chunk: number;
  readonly milliseconds: number;
}

function build(): string {
  const source = join(root, "bench", "native", "onednn-alone.cpp");
  const program = join(root, "build", "bench-native", "onednn-alone");
  if (existsSync(program) && statSync(program).mtimeMs > statSync(source).mtimeMs) return program;
  mkdirSync(dirname(program), { recursive: true });
  const flags = ["-std=c++17", "-O2", "-fopenmp", source, "-o", program, "-ldnnl", "-lpthread"];
  execFileSync(process.env["CXX"] ?? "g++", flags, { stdio: "inherit" });
  return program;
}

/** oneDNN's version and one record for each shape and kind. */
export function runAlone({ model, batch, threads, chunk, milliseconds }: AloneOptions): {
  version: string;
  cases: readonly Alone[];
} {
  const values = [model, batch, threads, chunk, milliseconds].map(String);
  const lines = execFileSync(build(), values, { encoding: "utf8" }).trim().split("\n");
  const [first, ...cases] = lines.map((line) => JSON.parse(line));
  return { version: first.oneDNN, cases };
}

/** The faster of two runs of every case. */
export const fasterOf = (a: readonly Alone[], b: readonly Alone[]): Alone[] =>
  a.map((one, i) => (b[i].minMs < one.minMs ? b[i] : one));

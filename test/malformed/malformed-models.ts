// Malformed models, read in a separate process: the outcome of each.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serialize } from "node:v8";
import type { EngineName } from "../../src/engines/select.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { opsetFor, writeOnnx } from "../../src/onnx/write.ts";
import { isOwn } from "../../src/ops/index.ts";
import { engineExamples } from "../engines/engine-examples.ts";
import { caseOf } from "../engines/example-case.ts";
import { isInstalled, loadNodeTest, nodeTests } from "../onnx-node/node-tests.ts";
import { titleOf } from "../operators/examples/example.ts";
import { examples } from "../operators/examples/index.ts";
import { withSources } from "../support/joined-sources.ts";
import { tinyOrigin } from "../support/tiny-classifier.ts";
import { tinyConvNet, tinyMlp, tinyResidualNet } from "../support/tiny-models.ts";

export interface Base {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface Outcome {
  readonly outcomes: Readonly<Record<string, number>>;
  /** What was neither a clear error nor a run, or took too long or too much memory. */
  readonly wrong: readonly { readonly seed: number; readonly what: string }[];
}

const root = join(import.meta.dirname, "../..");

const fixture = (path: string): Base => ({ name: path, bytes: readFileSync(join(root, path)) });

/** One operator each; our own have no form in ONNX. */
function operatorModels(): readonly Base[] {
  const seen = new Set<string>();
  return [...examples, ...engineExamples].flatMap((example) => {
    if (isOwn(example.op)) return [];
    const name = titleOf(example);
    if (seen.has(name)) return [];
    seen.add(name);
    const { graph } = caseOf(example, "float32");
    return [{ name, bytes: writeOnnx({ graph: named(graph), origin: tinyOrigin }, { opset: opsetFor(graph, 24) }) }];
  });
}

const named = (graph: Graph): Graph => ({ ...graph, name: "example" });

export function baseModels(): readonly Base[] {
  const torch = ["bert", "vit", "mobilenetv2", "mobilenetv2-folded", "efficientnet"];
  const nets = torch.map((name) => fixture(`test/oracles/torch-models/${name}.onnx`));
  const whole = [
    ...nets,
    fixture("examples/shapes/shapes.onnx"),
    { name: "conv net", bytes: tinyConvNet({ size: 8 }) },
    { name: "residual net", bytes: tinyResidualNet({ size: 8, batch: 2 }) },
    { name: "mlp", bytes: tinyMlp() },
  ];
  const operators = operatorModels();
  const node = isInstalled ? nodeTests.map((name) => ({ name, bytes: loadNodeTest(name).bytes })) : [];
  const small = [...operators, ...node];
  // Whole networks are a third of all.
  const times = Math.ceil(small.length / whole.length / 2);
  return [...small, ...Array.from({ length: times }, () => whole).flat()];
}

const quietMs = 30_000;
const maxResidentBytes = 2e9;

function residentBytes(pid: number | undefined): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

export interface Reading {
  /** The first seed; the others follow it. */
  readonly first: number;
  readonly count: number;
  /** What runs those that can be run; "any": drawn per model. */
  readonly engine?: EngineName | "any";
  /** A file that gets a line for each model that was refused. */
  readonly messages?: string;
}

/** Reads the malformed models of some seeds; rejects, naming the model, where the process ended or hung. */
export function readMalformed(bases: readonly Base[], reading: Reading): Promise<Outcome> {
  const { first, count, engine = "any", messages = "" } = reading;
  return runWatched({
    script: join(import.meta.dirname, "read-models.js"),
    bases,
    words: (last) => [String(first), String(count), engine, last, messages],
  });
}

interface Watched {
  readonly script: string;
  readonly bases: readonly Base[];
  /** What the script is told after where the sources and the models are; `last` is the file that says what it is at. */
  readonly words: (last: string) => readonly string[];
}

/** Runs a script over models in a process of its own; rejects, naming the model, where it ended or hung. */
export async function runWatched({ script, bases, words }: Watched): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), "frostbit-malformed-"));
  const [models, last] = [join(folder, "models"), join(folder, "last")];
  writeFileSync(models, serialize(bases));
  try {
    return await withSources(read, async (sources) => {
      const args = ["--expose-gc", script, sources, models, ...words(last)];
      const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
      const { code, stdout, stderr, why } = await watched(child, last);
      if (code !== 0) throw new Error(`${why}: model ${lastOf(last)}\n${stderr.slice(-3000)}`);
      return JSON.parse(stdout) as Outcome;
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What the scripts read of the sources. */
const read = [
  ...["index", "ir/half", "onnx/data-types", "passes/free-batch"],
  ...["engines/native/addon", "engines/onnxruntime/open-session"],
];

function lastOf(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly why: string;
}

/** Ends the process where it is at one model for too long, or takes the machine's memory. */
function watched(child: ReturnType<typeof spawn>, last: string): Promise<Ended> {
  let [stdout, stderr, why, at, since] = ["", "", "the process ended", "", Date.now()];
  const look = setInterval(() => {
    const now = lastOf(last);
    if (now !== at) [at, since] = [now, Date.now()];
    if (Date.now() - since > quietMs) why = `nothing for ${quietMs / 1000} s`;
    else if (residentBytes(child.pid) > maxResidentBytes) why = `more than ${maxResidentBytes} bytes of memory`;
    else return;
    child.kill("SIGKILL");
  }, 200);
  child.stdout?.on("data", (part) => {
    stdout += String(part);
  });
  child.stderr?.on("data", (part) => {
    stderr += String(part);
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearInterval(look);
      resolve({ code, stdout, stderr, why: signal ? `${why} (${signal})` : why });
    });
  });
}

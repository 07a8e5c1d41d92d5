// Learned rounding of ResNet-20 from 1,024 images against its bars: whole methods in processes of their own, steps of the blocks
// against their float forward and backward pass in turn. Needs FROSTBIT_DATA. Writes
// bench/results/<date>-<machine>-reconstruction.json.
import { spawnSync } from "node:child_process";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { loadNow, writeResults } from "../support/machine.ts";
import type { MethodTimes } from "./method-worker.ts";
import type { MethodRequest } from "./resnet20.ts";
import { ratiosOf, timedBlocks, timeUnitSteps } from "./unit-steps.ts";

const { values } = parseArgs({
  options: {
    threads: { type: "string", default: "2" },
    steps: { type: "string", default: "40" },
    iterations: { type: "string", default: "1000" },
    /** Iterations of the comparison of engines. */
    short: { type: "string", default: "50" },
  },
});
const [threads, steps, iterations, short] = [values.threads, values.steps, values.iterations, values.short].map(Number);

function run(request: Omit<MethodRequest, "threads">): MethodTimes {
  const worker = join(import.meta.dirname, "method-worker.js");
  const { status, stdout, stderr } = spawnSync(process.execPath, [worker, JSON.stringify({ ...request, threads })], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`${request.method} failed: ${stderr.trim().split("\n").at(-1)}`);
  return JSON.parse(stdout) as MethodTimes;
}

const bits = { weights: 4, activations: 8 } as const;
const narrow = { weights: 4, activations: 4 } as const;
const table: string[][] = [];
function report(what: string, measured: string, bar: string): void {
  table.push([what, measured, bar]);
  console.log(`${what.padEnd(52)} ${measured.padStart(26)}   ${bar}`);
}

const inSeconds = ({ seconds, processorSeconds }: MethodTimes): string =>
  `${seconds.toFixed(1)} (${processorSeconds.toFixed(1)})`;
const memoryOf = ({ peakMemoryMb, memoryBeforeModelMb }: MethodTimes): number => peakMemoryMb - memoryBeforeModelMb;

const loadBefore = loadNow();
console.log(
  `${cpus()[0]?.model}; ResNet-20, 1,024 images, ${threads} threads; seconds, processor seconds in brackets; load before: ${loadBefore.toFixed(1)}`,
);
const native = "native" as const;
const adaround = run({ method: "adaround", options: { iterations }, engine: native, ...bits });
report(`AdaRound in closed form, ${iterations} iterations`, inSeconds(adaround), "15");
const gptq = run({ method: "gptq", options: {}, engine: native, ...bits });
report("GPTQ", inSeconds(gptq), "20");

const unitTimes = await timeUnitSteps(threads, steps);
const ratios: Record<string, readonly [number, number]> = {};
for (const block of timedBlocks)
  for (const [name, bar] of [
    ["weights", "1.15"],
    ["qdrop", "1.5"],
  ] as const) {
    const both = ratiosOf(unitTimes[block], name);
    ratios[`${block} ${name}`] = both;
    const [time, processor] = both.map((ratio) => ratio.toFixed(2));
    report(`${name} step of ${block}, of its float step`, `${time} (${processor})`, bar);
  }

const qdrop = run({ method: "qdrop", options: { iterations }, engine: native, ...narrow });
report(`QDrop, ${iterations} iterations`, inSeconds(qdrop), "40 at 1,000");
const overhead = qdrop.seconds - qdrop.stepSeconds;
const long = overhead + (qdrop.stepSeconds * 20_000) / iterations;
report("QDrop, 20,000 iterations, from that", long.toFixed(0), "540");
report("QDrop, ranges before its units, seconds", qdrop.rangeSeconds.toFixed(1), "");
const unitOverhead = overhead - qdrop.rangeSeconds;
report("QDrop, units without steps", `${((100 * unitOverhead) / qdrop.seconds).toFixed(0)} %`, "10 % at 1,000");
/** Two streams of 1,024 inputs of the largest unit, 16 × 32 × 32 floats. */
const streamsMb = (2 * 1024 * 16 * 32 * 32 * 4) / 2 ** 20;
for (const [name, times] of Object.entries({ adaround, gptq, qdrop }))
  report(`${name}, peak memory, MB`, memoryOf(times).toFixed(0), `${streamsMb + 300}`);

const engines = (["native", "onnxruntime"] as const).map((engine) => ({
  adaround: run({ method: "adaround", options: { iterations: short }, engine, ...bits }),
  qdrop: run({ method: "qdrop", options: { iterations: short }, engine, ...narrow }),
}));
for (const method of ["adaround", "qdrop"] as const) {
  const [ours, portable] = engines.map((times) => times[method]);
  const time = (portable.seconds / ours.seconds).toFixed(1);
  const processor = (portable.processorSeconds / ours.processorSeconds).toFixed(1);
  report(`${method}, ${short} iterations, onnxruntime of native`, `${time} (${processor})`, "4");
}
writeResults("reconstruction", loadBefore, {
  ...{ threads, iterations, short, ratios, table },
  raw: { adaround, gptq, qdrop, engines, unitTimes },
});

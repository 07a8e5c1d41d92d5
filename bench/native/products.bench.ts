// Where a native QAT step's time goes, and its convolutions and products against oneDNN alone on the same shapes, in turn.
// A kernel's time is what the first thread saw, the wait at its barrier included. Needs FROSTBIT_DATA for ResNet-20.
// Writes bench/results/<date>-<machine>-<model>-products.json.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { median } from "../../src/evaluate/latency.ts";
import { loadNow, writeResults } from "../support/machine.ts";
import { sumOf } from "./alone-table.ts";
import { type Alone, fasterOf, runAlone } from "./onednn-alone.ts";
import type { Profile } from "./profile-worker.ts";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "resnet20" },
    precision: { type: "string" },
    rounds: { type: "string", default: "3" },
    steps: { type: "string", default: "8" },
    threads: { type: "string", default: "2" },
  },
});
const { model, precision } = values;
if (model !== "resnet20" && model !== "encoder")
  throw new Error(`--model is "${model}"; expected resnet20 or encoder.`);
const [rounds, steps, threads] = [values.rounds, values.steps, values.threads].map(Number);
const batch = model === "resnet20" ? 128 : 8;

/** Which of a step's kernels are held against which kinds of oneDNN alone, of which the fastest counts. */
interface Group {
  readonly name: string;
  readonly kernels: RegExp;
  readonly kinds: readonly string[];
}

const isMixed = precision === "mixed";

/** Forward products may be integers in float32 too, where both operands are quantized. */
function groupsOf(usesIntegers: boolean): readonly Group[] {
  if (model === "encoder")
    return [
      {
        name: "products",
        kernels: /product/i,
        kinds: [...(usesIntegers ? ["u8s8s32"] : []), ...(isMixed ? ["bf16", "bf16>f32"] : ["f32"])],
      },
    ];
  return [
    {
      name: "forward convolutions",
      kernels: /^(?!.*Gradient).*convolution/i,
      kinds: [usesIntegers ? "forward u8s8s32" : isMixed ? "forward bf16" : "forward f32"],
    },
    {
      name: "input gradients",
      kernels: /InputGradient/i,
      kinds: isMixed ? ["dx bf16", "dx as forward bf16"] : ["dx f32", "dx as forward f32"],
    },
    { name: "weight gradients", kernels: /WeightGradient/i, kinds: [isMixed ? "dw bf16>f32" : "dw f32"] },
  ];
}

function profile(): Profile {
  const worker = join(import.meta.dirname, "profile-worker.js");
  const request = { model, engine: "native", mode: "qat", updateRatio: 1, batch, threads, steps };
  const bits = { weights: 4, activations: 8, ...(precision === undefined ? {} : { precision }) };
  const { status, stdout, stderr } = spawnSync(process.execPath, [worker, JSON.stringify({ ...request, ...bits })], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`The step failed: ${stderr.trim().split("\n").at(-1)}`);
  return JSON.parse(stdout) as Profile;
}

const loadBefore = loadNow();
const profiles: Profile[] = [];
let alone: readonly Alone[] = [];
for (let round = 0; round < rounds; round++) {
  profiles.push(profile());
  const { cases } = runAlone({ model, batch, threads, chunk: 0, milliseconds: 100 });
  alone = round === 0 ? cases : fasterOf(alone, cases);
}
const inside = (kernels: RegExp): number =>
  Math.min(
    ...profiles.map((one) =>
      one.kernels.reduce((sum, { kernel, minMs }) => sum + (kernels.test(kernel) ? minMs : 0), 0),
    ),
  );
const usesIntegers = profiles[0].kernels.some(({ kernel }) => kernel.includes("integer"));
const groups = groupsOf(usesIntegers).map((group) => ({
  ...group,
  insideMs: inside(group.kernels),
  aloneMs: sumOf(alone, group.kinds),
}));

console.log(
  `${model}, batch ${batch}, W4A8, native ${precision ?? ""}, ${threads} threads, QAT step; load before: ${loadBefore.toFixed(1)}`,
);
console.log("ms of a step by kernel, the median of rounds:");
for (const { kernel, implementation, steps: count } of profiles[0].kernels.slice(0, 25)) {
  const ms = median(
    profiles.map(
      (one) => one.kernels.find((other) => other.kernel === kernel && other.implementation === implementation)?.ms ?? 0,
    ),
  );
  console.log(`${ms.toFixed(2).padStart(8)}  ×${String(count).padEnd(4)} ${kernel} ${implementation}`);
}
console.log(
  `${median(profiles.map(({ totalMs }) => totalMs))
    .toFixed(2)
    .padStart(8)}  all\n`,
);
console.log("against oneDNN alone, sums over the layers, of minima on both sides:");
for (const { name, insideMs, aloneMs } of groups)
  console.log(
    `${name.padEnd(22)} inside ${insideMs.toFixed(2).padStart(7)} ms   alone ${aloneMs.toFixed(2).padStart(7)} ms   ${((100 * aloneMs) / insideMs).toFixed(0)} % of oneDNN's speed`,
  );
const raw = { profiles, alone };
const compared = groups.map(({ name, insideMs, aloneMs }) => ({ name, insideMs, aloneMs }));
writeResults(`${model}-products`, loadBefore, { batch, threads, steps, precision, rounds, compared, raw });

// oneDNN's convolutions (ResNet-20, batch 128) or products (an encoder layer, batch 8) alone, each thread on its share.
// Arguments: resnet20 | encoder, rounds, images of a chunk (0: a thread's whole share), threads.
import { aloneTable } from "./alone-table.ts";
import { fasterOf, runAlone } from "./onednn-alone.ts";

const [model = "resnet20", rounds = "3", chunk = "0", threads = "2"] = process.argv.slice(2);
if (model !== "resnet20" && model !== "encoder")
  throw new Error(`The model is "${model}"; expected resnet20 or encoder.`);
const batch = model === "resnet20" ? 128 : 8;
const options = { model, batch, threads: Number(threads), chunk: Number(chunk), milliseconds: 100 } as const;
let { version, cases } = runAlone(options);
for (let round = 1; round < Number(rounds); round++) cases = fasterOf(cases, runAlone(options).cases);
const share = options.chunk > 0 ? `chunks of ${options.chunk} images` : "the thread's whole share at once";
console.log(
  `oneDNN ${version} alone, ${model}, batch ${batch}, ${threads} threads of one-thread primitives, ${share};`,
);
console.log(`minima of ${rounds} rounds in ms for one layer, GFLOP/s of all threads, and what computed it`);
console.log(aloneTable(cases));

// Times Block-AP of a few decoder layers, all that belongs to it, in a separate process. One argument: BlocksRequest as JSON. Prints
// a Measured: `stepMs` has the time of a layer, plans and all.
import { readFileSync } from "node:fs";
import { selectEngine } from "../../src/engines/select.ts";
import type { Context } from "../../src/run/context.ts";
import { decoderJob, runMethod } from "./decoder-job.ts";
import type { BlocksRequest } from "./request.ts";

const request = JSON.parse(process.argv[2]) as BlocksRequest;
const { engine, precision, threads, windows, held, batch, epochs, layers } = request;
const memoryBeforeModelMb = process.memoryUsage.rss() / 2 ** 20;
const context: Context = { engine: selectEngine(engine), seed: 0, threads, precision };
const job = decoderJob(request, windows + held);
const rounded = await runMethod(job, "ptq", {}, job.start, context);
const began = performance.now();
const options = { trainingSamples: windows, validationSamples: held, epochs, batch };
await runMethod(job, "efficient-qat", options, rounded, context);
const stepMs = [(performance.now() - began) / layers];
const peakMemoryMb = Number(/VmHWM:\s*(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) / 1024;
console.log(JSON.stringify({ stepMs, peakMemoryMb, memoryBeforeModelMb }));

// Times one variant of a training step in a separate process. One argument: StepRequest as JSON. Prints a Measured as JSON.
import { selectEngine } from "../../src/engines/select.ts";
import { benchModel, stepOf } from "../support/model-step.ts";
import { compileOptions, type StepRequest } from "./request.ts";

const megabytes = (bytes: number): number => bytes / 2 ** 20;

const request = JSON.parse(process.argv[2]) as StepRequest;
const memoryBeforeModelMb = megabytes(process.memoryUsage.rss());
const step = await stepOf(benchModel(request.model), selectEngine(request.engine), request, {
  ...request,
  compile: compileOptions(request),
});
const warmUp = 3;
const stepMs: number[] = [];
for (let i = 0; i < request.steps + warmUp; i++) {
  const start = performance.now();
  await step.run();
  if (i >= warmUp) stepMs.push(performance.now() - start);
}
const selectMs: number[] = [];
for (let i = 0; i < 5; i++) {
  const start = performance.now();
  await step.reselect();
  selectMs.push(performance.now() - start);
}
await step.dispose();
const peakMemoryMb = megabytes(process.resourceUsage().maxRSS * 1024);
console.log(JSON.stringify({ stepMs, selectMs, compileMs: step.compileMs, peakMemoryMb, memoryBeforeModelMb }));

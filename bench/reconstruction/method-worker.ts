// Runs a method in a separate process. One argument: MethodRequest as JSON. Prints a MethodTimes as JSON.
import { selectEngine } from "../../src/engines/select.ts";
import { type MethodRequest, prepare } from "./resnet20.ts";
import { watchSteps } from "./watch-steps.ts";

/** Seconds. */
export interface MethodTimes {
  readonly seconds: number;
  readonly processorSeconds: number;
  /** In runs of graphs that train. */
  readonly stepSeconds: number;
  /** Until the first unit begins: ranges are chosen; 0 where nothing trains unit by unit. */
  readonly rangeSeconds: number;
  readonly peakMemoryMb: number;
  /** With the data open, before the model is read. */
  readonly memoryBeforeModelMb: number;
}

const request = JSON.parse(process.argv[2]) as MethodRequest;
const engine = selectEngine(request.engine);
let memoryBeforeModelMb = 0;
const { run } = await prepare(request, engine, () => {
  memoryBeforeModelMb = process.memoryUsage.rss() / 2 ** 20;
});
let [stepSeconds, rangeSeconds] = [0, 0];
const [start, before] = [performance.now(), process.cpuUsage()];
await run(
  watchSteps(engine, () => async (runSteps) => {
    const began = performance.now();
    const outputs = await runSteps();
    stepSeconds += (performance.now() - began) / 1000;
    return outputs;
  }),
  ({ phase }) => {
    if (rangeSeconds === 0 && phase.includes(" activations of ")) rangeSeconds = (performance.now() - start) / 1000;
  },
);
const { user, system } = process.cpuUsage(before);
const times: MethodTimes = {
  seconds: (performance.now() - start) / 1000,
  processorSeconds: (user + system) / 1e6,
  stepSeconds,
  rangeSeconds,
  peakMemoryMb: process.resourceUsage().maxRSS / 1024,
  memoryBeforeModelMb,
};
console.log(JSON.stringify(times));

// Runs a method in a separate process. One argument: MethodRequest as JSON. Prints a MethodTimes as JSON.
import type { Engine } from "../../src/engines/engine.ts";
import { selectEngine } from "../../src/engines/select.ts";
import { type MethodRequest, prepare } from "./resnet20.ts";

/** Seconds. */
export interface MethodTimes {
  readonly seconds: number;
  readonly processorSeconds: number;
  /** In runs of graphs that train. */
  readonly stepSeconds: number;
  readonly peakMemoryMb: number;
  /** With the data open, before the model is read. */
  readonly memoryBeforeModelMb: number;
}

/** Adds up the seconds of runs of graphs that train. */
function timing(engine: Engine, add: (seconds: number) => void): Engine {
  return {
    ...engine,
    compile: async (graph, options) => {
      const executable = await engine.compile(graph, options);
      if (graph.updates.size === 0) return executable;
      return {
        ...executable,
        bind: (variables, names) => {
          const program = executable.bind(variables, names);
          return {
            run: async (inputs, given) => {
              const start = performance.now();
              const outputs = await program.run(inputs, given);
              add((performance.now() - start) / 1000);
              return outputs;
            },
          };
        },
      };
    },
  };
}

const request = JSON.parse(process.argv[2]) as MethodRequest;
const engine = selectEngine(request.engine);
let memoryBeforeModelMb = 0;
const { run } = await prepare(request, engine, () => {
  memoryBeforeModelMb = process.memoryUsage.rss() / 2 ** 20;
});
let stepSeconds = 0;
const [start, before] = [performance.now(), process.cpuUsage()];
await run(
  timing(engine, (seconds) => {
    stepSeconds += seconds;
  }),
);
const { user, system } = process.cpuUsage(before);
const times: MethodTimes = {
  seconds: (performance.now() - start) / 1000,
  processorSeconds: (user + system) / 1e6,
  stepSeconds,
  peakMemoryMb: process.resourceUsage().maxRSS / 1024,
  memoryBeforeModelMb,
};
console.log(JSON.stringify(times));

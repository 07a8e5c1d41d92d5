// Run as a process of its own: node --expose-gc growth.js COUNT. Compiles, runs and disposes of a training step 200 times, then COUNT times
// in five rounds, and prints the resident megabytes before and after each; then those with one of a large batch, and as soon as it is
// disposed of.
import { buildOn, selectEngine, tensorOf } from "frostbit";

const zeros = (...shape) => tensorOf("float32", shape, new Float32Array(shape.reduce((a, b) => a * b, 1)));

/** One convolution, its weights' gradient and their update: arena, scratch, packed weights, oneDNN's primitives. */
function trainingGraph(batch) {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [batch, 16, 32, 32] });
  const w = build.variable("w", { dtype: "float32", shape: [32, 16, 3, 3] });
  const velocity = build.variable("velocity", { dtype: "float32", shape: [32, 16, 3, 3] });
  const attributes = { strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], group: 1, kernel_shape: [3, 3] };
  const y = build.node("Conv", [x, w], attributes);
  const dw = build.node("ConvGradientWeight", [y, x], attributes);
  const optimizer = { momentum: 0.9, weightDecay: 0 };
  const [next, state] = build.nodes("SgdUpdate", [w, dw, velocity, build.scalar(0.1)], [true, true], optimizer);
  build.update("w", next);
  build.update("velocity", state);
  return build.graph([build.node("ReduceSum", [y], { keepdims: 0 })], "step");
}

const engine = selectEngine("native");
const graph = trainingGraph(4);
const inputs = new Map([["x", zeros(4, 16, 32, 32)]]);
const initial = new Map([
  ["w", zeros(32, 16, 3, 3)],
  ["velocity", zeros(32, 16, 3, 3)],
]);

async function compileAndDispose(count) {
  for (let i = 0; i < count; i++) {
    const executable = await engine.compile(graph, { threads: 2 });
    const variables = await engine.variables(initial);
    await executable.bind(variables).run(inputs);
    variables.dispose();
    await executable.dispose();
  }
}

/** Without V8's heap, which grows and shrinks by megabytes on its own. */
function residentNowMb() {
  const { rss, heapTotal } = process.memoryUsage();
  return (rss - heapTotal) / 2 ** 20;
}

/** Nothing is collected between. */
async function compileLarge() {
  const large = trainingGraph(512);
  const images = new Map([["x", zeros(512, 16, 32, 32)]]);
  const executable = await engine.compile(large, { threads: 2 });
  const variables = await engine.variables(initial);
  const program = executable.bind(variables);
  await program.run(images);
  const [held, planned] = [residentNowMb(), executable.memoryBytes / 2 ** 20];
  await executable.dispose();
  return { planned, given: held - residentNowMb(), program };
}

async function residentMb() {
  for (let i = 0; i < 4; i++) {
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return residentNowMb();
}

await compileAndDispose(200);
const resident = [await residentMb()];
const rounds = 5;
for (let round = 0; round < rounds; round++) {
  await compileAndDispose(Number(process.argv[2]) / rounds);
  resident.push(await residentMb());
}
const { planned, given } = await compileLarge();
console.log(JSON.stringify({ resident, planned, given }));

// Copied into a project that has frostbit: some training steps on the native engine, as JSON: losses, and the libraries loaded.
import { buildOn, selectEngine, tensorOf } from "frostbit";

const shape = [4, 3, 16, 16];
const attributes = { strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], group: 1, kernel_shape: [3, 3] };
const wave = (count) => Float32Array.from({ length: count }, (_, i) => Math.sin(i));

/** The loss is half the sum of the squares of a convolution. */
function trainingGraph() {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape });
  const w = build.variable("w", { dtype: "float32", shape: [8, 3, 3, 3] });
  const velocity = build.variable("velocity", { dtype: "float32", shape: [8, 3, 3, 3] });
  const y = build.node("Conv", [x, w], attributes);
  const dw = build.node("ConvGradientWeight", [y, x], attributes);
  const optimizer = { momentum: 0, weightDecay: 0 };
  const [next, state] = build.nodes("SgdUpdate", [w, dw, velocity, build.scalar(1e-4)], [true, true], optimizer);
  build.update("w", next);
  build.update("velocity", state);
  return build.graph([build.node("ReduceSumSquare", [y], { keepdims: 0 })], "step");
}

const engine = selectEngine("native");
const graph = trainingGraph();
const variables = await engine.variables(
  new Map([
    ["w", tensorOf("float32", [8, 3, 3, 3], wave(216))],
    ["velocity", tensorOf("float32", [8, 3, 3, 3], new Float32Array(216))],
  ]),
);
const program = (await engine.compile(graph, { threads: 2 })).bind(variables);
const inputs = new Map([["x", tensorOf("float32", shape, wave(4 * 3 * 16 * 16))]]);
const losses = [];
for (let i = 0; i < 3; i++) losses.push((await program.run(inputs)).get(graph.outputs[0]).data[0]);
const { sharedObjects } = process.report.getReport();
console.log(
  JSON.stringify({ losses, libraries: sharedObjects.filter((file) => /dnnl|gomp|OpenCL|frostbit/.test(file)) }),
);

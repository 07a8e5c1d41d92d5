// Whether this build of ONNX Runtime, on this processor, has blocked convolutions, and how many channels a block has.
import type { Graph } from "../../ir/graph.ts";
import { tensorOf } from "../../ir/tensor.ts";
import { encodeGraph } from "./encode-graph.ts";
import { blockedDomain } from "./lowering.ts";
import { openSession } from "./open-session.ts";
import type { OrtModule } from "./ort-module.ts";

const detected = new WeakMap<OrtModule, Promise<number>>();

/** 16 with AVX-512, 8 with AVX; 0 where a model with blocked operators does not run. */
export function detectBlock(ort: OrtModule): Promise<number> {
  const found = detected.get(ort) ?? reorderRamp(ort);
  detected.set(ort, found);
  return found;
}

const channels = 16;

/** Sends x[0, c, 0, w] = 2c + w through a reordering: with blocks of b, channel b comes after both places of channel 0. */
async function reorderRamp(ort: OrtModule): Promise<number> {
  const type = { dtype: "float32", shape: [1, channels, 1, 2] } as const;
  const graph: Graph = {
    name: "reorder",
    inputs: ["x"],
    outputs: ["y"],
    nodes: [{ name: "reorder", op: `${blockedDomain}::ReorderInput`, inputs: ["x"], outputs: ["y"], attributes: {} }],
    values: new Map([
      ["x", type],
      ["y", type],
    ]),
    constants: new Map(),
    variables: [],
    updates: new Map(),
  };
  const ramp = tensorOf(
    "float32",
    type.shape,
    Array.from({ length: 2 * channels }, (_, i) => i),
  );
  const y = await runOrNothing(ort, encodeGraph(graph), new Map([["x", ramp]]));
  const block = y ? y.indexOf(1) : -1; // x[0, 0, 0, 1] comes after the whole first block of place 0
  return block === 4 || block === 8 || block === 16 ? block : 0;
}

/** Builds without blocked operators refuse the model: that is the answer, not a failure. */
async function runOrNothing(
  ort: OrtModule,
  bytes: Uint8Array,
  inputs: Parameters<Awaited<ReturnType<typeof openSession>>["run"]>[0],
): Promise<number[] | undefined> {
  try {
    const session = await openSession(ort, bytes, { threads: 1 });
    const y = (await session.run(inputs)).get("y");
    await session.dispose();
    return y && Array.from(y.data, Number);
  } catch {
    return undefined;
  }
}

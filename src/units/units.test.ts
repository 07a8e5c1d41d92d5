import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { quantized } from "../../test/models/quantized.ts";
import { batchFor, tinyModels } from "../../test/models/tiny-models.ts";
import { createRandom } from "../../test/support/random.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { runUnits } from "../../test/support/run-units.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { assert } from "../ir/errors.ts";
import { type Graph, type Node, producers } from "../ir/graph.ts";
import { bytesSource } from "../ir/tensor-source.ts";
import { readLanguageModel } from "../language-models/read.ts";
import { buildOn } from "../ops/infer.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { withInputTypes } from "../passes/with-input-types.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import { cutIntoUnits, type Unit, unitKinds } from "./units.ts";

const summary = (units: readonly Unit[]) =>
  Object.fromEntries(units.map(({ name, inputs, outputs }) => [name, `${inputs} → ${outputs}`]));

const modelOf = (name: string) => {
  const model = tinyModels.find((candidate) => candidate.name === name);
  assert(model, `there is no tiny model "${name}"`);
  return model;
};

const unitsOf = (name: string, kind: "layer" | "block") => cutIntoUnits(modelOf(name).build("float32"), kind);

/** x and mask, [N, 4]; `body` gives the outputs. */
function graphOf(
  body: (tools: {
    readonly layer: Make;
    readonly node: Make;
    readonly x: string;
    readonly mask: string;
  }) => readonly string[],
): Graph {
  const build = buildOn();
  const random = createRandom(3);
  const [x, mask] = ["x", "mask"].map((name) => build.input(name, { dtype: "float32", shape: ["N", 4] }));
  const layer: Make = (name, input) =>
    build.node("MatMul", [input, build.constant(random.tensor("float32", [4, 4]), `${name}.weight`)], {}, name);
  const node: Make = (name, ...inputs) => build.node(inputs.length === 1 ? "Relu" : "Add", inputs, {}, name);
  return build.graph(body({ layer, node, x, mask }));
}
type Make = (name: string, ...inputs: string[]) => string;

describe("blocks of known networks", () => {
  test("an inverted bottleneck with its shortcut is one, the stem and the head are others", () => {
    expect(summary(unitsOf("MobileNetV2", "block"))).toEqual({
      stem: "input → stem.relu6",
      expand: "stem.relu6 → residual",
      head: "residual → logits",
    });
  });

  test("squeeze and excitation is one with the product that it enters", () => {
    expect(unitsOf("MobileNetV3", "block").find(({ name }) => name === "se")).toMatchObject({
      inputs: ["depthwise.bn"],
      outputs: ["swish"],
      layers: ["se.reduce", "se.expand"],
    });
  });

  test("attention is one, and the two layers behind it are another", () => {
    const units = unitsOf("vision transformer with Gelu", "block");
    expect(units.map(({ layers }) => layers)).toEqual([
      ["patches"],
      ["q", "k", "v", "projection"],
      ["mlp.fc1", "mlp.fc2"],
      ["head"],
    ]);
    expect(units.map(({ outputs }) => outputs)).toEqual([["patches"], ["residual1"], ["norm3"], ["logits"]]);
  });

  test("a U-Net is one from where its outermost shortcut begins to where it ends", () => {
    expect(unitsOf("UNet", "block").map(({ layers }) => layers)).toEqual([
      ["encode1"],
      ["encode2", "encode3", "decode2", "up1"],
      ["decode1"],
      ["head"],
    ]);
  });
});

describe("blocks of hand-made graphs", () => {
  test("a mask that every block reads is a side input of each", () => {
    const graph = graphOf(({ layer, node, x, mask }) => {
      const first = node("sum1", x, node("masked1", layer("a", x), mask));
      return [node("sum2", first, node("masked2", layer("b", first), mask))];
    });
    expect(summary(cutIntoUnits(graph, "block"))).toEqual({ a: "x,mask → sum1", b: "sum1,mask → sum2" });
  });

  test("what the data takes around the first layers belongs to their block", () => {
    const graph = graphOf(({ layer, node, x }) => [node("sum", node("paths", layer("a", x), layer("b", x)), x)]);
    expect(cutIntoUnits(graph, "block")).toHaveLength(1);
  });

  test("branches that never meet are one block with an output each", () => {
    const graph = graphOf(({ layer, x }) => {
      const trunk = layer("trunk", x);
      return [layer("left", trunk), layer("right", trunk)];
    });
    expect(summary(cutIntoUnits(graph, "block"))).toEqual({ trunk: "x → trunk", left: "trunk → left,right" });
  });

  test("an output of the graph in the middle is an output of its block, and no reason for a larger one", () => {
    const graph = graphOf(({ layer, node, x }) => {
      const middle = node("middle", layer("a", x));
      return [middle, layer("b", middle)];
    });
    expect(summary(cutIntoUnits(graph, "block"))).toEqual({ a: "x → middle", b: "middle → b" });
  });

  test("a network without layers is refused", () => {
    expect(() =>
      cutIntoUnits(
        graphOf(({ node, x }) => [node("sum", x, x)]),
        "block",
      ),
    ).toThrow("no linear layer");
  });
});

describe("units of a layer", () => {
  test("have its normalization and activation, and end before an addition of another branch", () => {
    const units = unitsOf("MobileNetV2", "layer");
    expect(summary(units)).toEqual({
      stem: "input → stem.relu6",
      expand: "stem.relu6 → expand.relu6",
      depthwise: "expand.relu6 → depthwise.relu6",
      project: "depthwise.relu6 → project.bn",
      head: "stem.relu6,project.bn → logits",
    });
  });

  test("have as targets what the layer computes, not what is computed in front of it", () => {
    const unit = unitsOf("vision transformer with Gelu", "layer").find(({ name }) => name === "mlp.fc1");
    expect(unit).toMatchObject({ outputs: ["residual1", "gelu"], targets: ["gelu"] });
  });
});

/** Parts leave out what is behind them. */
const wholeKinds = unitKinds.filter((kind) => kind !== "part");

describe.each(tinyModels)("the $name", (model) => {
  test.each(wholeKinds)("run by %s gives what it gives whole, quantized too", async (kind) => {
    const units = cutIntoUnits(model.build("float32"), kind);
    for (const placement of [undefined, "inputs", "runtime"] as const) {
      const whole = placement ? await quantized(model, "float32", { placement }) : model.build("float32");
      const graph = setBatchSize(whole, 3);
      const inputs = new Map([["input", batchFor(model, "float32", 3).images]]);
      expect(await runUnits(graph, units, inputs)).toEqual(await runGraph(createReferenceEngine(), graph, inputs));
    }
  });
});

/** Layers, activations and additions of any values before them; what nobody reads is added up in the end. */
const graphs = fc
  .array(fc.record({ kind: fc.constantFrom("layer", "relu", "add"), a: fc.nat(), b: fc.nat() }), {
    minLength: 1,
    maxLength: 14,
  })
  .map((steps) =>
    graphOf(({ layer, node, x, mask }) => {
      const values = [x, layer("first", x)];
      const unread = new Set(values.slice(1));
      const take = (at: number): string => {
        // Rather what was made last: chains with some shortcuts.
        const value = values[Math.max(0, values.length - 1 - (at % 4))];
        unread.delete(value);
        return value;
      };
      for (const [i, { kind, a, b }] of steps.entries()) {
        const from = take(a);
        const added =
          kind === "layer"
            ? layer(`layer${i}`, from)
            : kind === "relu"
              ? node(`relu${i}`, from)
              : node(`add${i}`, from, b % 5 === 0 ? mask : take(b));
        values.push(added);
        unread.add(added);
      }
      return [[...unread].reduce((sum, value, i) => node(`end${i}`, sum, value))];
    }),
  )
  .map(removeDeadNodes);

describe("any graph", () => {
  test.each(wholeKinds)("by %s: each layer in one unit, in order, and the same outputs", async (kind) => {
    await fc.assert(
      fc.asyncProperty(graphs, async (graph) => {
        const units = cutIntoUnits(graph, kind);
        const layers = units.flatMap((unit) => unit.layers);
        expect([...layers].sort()).toEqual(
          linearLayers(graph)
            .map(({ name }) => name)
            .sort(),
        );
        const sized = setBatchSize(graph, 2);
        const random = createRandom(5);
        const inputs = new Map(graph.inputs.map((name) => [name, random.tensor("float32", [2, 4])]));
        const expected = await runGraph(createReferenceEngine(), sized, inputs);
        expect(await runUnits(sized, units, inputs)).toEqual(expected);
      }),
      { numRuns: 60 },
    );
  });

  test("has layers in one block exactly where the same values, without which no path goes from start to end, are before them", () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        const expected = new Map<string, string[]>();
        for (const { name, node } of linearLayers(graph)) {
          const key = String(bottlenecksBefore(graph, node));
          expected.set(key, [...(expected.get(key) ?? []), name]);
        }
        expect(cutIntoUnits(graph, "block").map(({ layers }) => layers)).toEqual([...expected.values()]);
      }),
      { numRuns: 300 },
    );
  });

  test("has blocks that read one value of blocks before them", () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        for (const { inputs } of cutIntoUnits(graph, "block").slice(1))
          expect(inputs.filter((input) => !graph.inputs.includes(input))).toHaveLength(1);
      }),
    );
  });
});

/** By its definition: the values upstream of a layer without which nothing that layers work on reaches the output. */
function bottlenecksBefore(graph: Graph, layer: Node): readonly string[] {
  const producerOf = producers(graph);
  const upstream = (value: string, found = new Set<string>()): Set<string> => {
    if (found.has(value)) return found;
    found.add(value);
    for (const input of producerOf.get(value)?.inputs ?? []) upstream(input, found);
    return found;
  };
  const weights = new Set(linearLayers(graph).map(({ node }) => node));
  const isStream = (value: string): boolean =>
    [...upstream(value)].some((each) => weights.has(producerOf.get(each) as Node));
  const worked = [...weights].map(({ inputs: [input] }) => input).filter((input) => !isStream(input));
  const data = new Set(worked.flatMap((value) => [...upstream(value)]).filter((value) => !graph.constants.has(value)));
  const reachesEnd = (without: string): boolean => {
    const reached = new Set<string>();
    for (const node of graph.nodes) {
      const [output] = node.outputs;
      const isReached = isStream(output) && node.inputs.some((input) => reached.has(input) || data.has(input));
      if (isReached && output !== without) reached.add(output);
    }
    return graph.outputs.some((output) => reached.has(output));
  };
  return [...upstream(layer.inputs[0])].filter((value) => isStream(value) && !reachesEnd(value)).sort();
}

test("a decoder's parts are its layers, each from hidden state to hidden state; norm and head behind them belong to none", () => {
  const folder = join(import.meta.dirname, "../../test/oracles/decoders/llama");
  const { graph } = readLanguageModel(
    {
      holds: (file) => existsSync(join(folder, file)),
      open: (file) => bytesSource(new Uint8Array(readFileSync(join(folder, file)))),
    },
    { name: "llama" },
  );
  const sized = withInputTypes(graph, new Map([["input_ids", { dtype: "int64", shape: ["batch", 6] }]]));
  const [first, second, ...rest] = cutIntoUnits(sized, "part");
  expect(rest).toEqual([]);
  expect([first.name, second.name]).toEqual(["model.layers.0", "model.layers.1"]);
  expect(first.layers).toHaveLength(7);
  expect([first.inputs, second.inputs]).toEqual([["input_ids"], first.outputs]);
  expect(second.targets).toEqual(second.outputs);
  const norm = sized.nodes.find(({ inputs }) => inputs[1] === "model.norm.weight");
  expect(second.outputs).toEqual([norm?.inputs[0]]);
});

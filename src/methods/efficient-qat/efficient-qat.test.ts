import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { expectClose } from "../../../test/support/close.ts";
import { describeWithData, readBytes, readTensors } from "../../../test/support/frostbit-data.ts";
import { createReferenceEngine } from "../../engines/reference/reference-engine.ts";
import { assert } from "../../ir/errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { numbersOf, scalar, type Tensor, tensorOf, toNumbers } from "../../ir/tensor.ts";
import { bytesSource } from "../../ir/tensor-source.ts";
import { transposedMatrix } from "../../ir/transposed-matrix.ts";
import { readLanguageModel } from "../../language-models/read.ts";
import { setBatchSize } from "../../passes/set-batch-size.ts";
import { withInputTypes } from "../../passes/with-input-types.ts";
import { insertQuantizers } from "../../quantizers/insert.ts";
import { quantizeOptions } from "../../quantizers/quantize-options.ts";
import { channelLoss } from "../../reconstruction/loss.ts";
import { learnedWeights, type SoftWeights, softenWeights } from "../../reconstruction/soft-unit.ts";
import {
  normParameters,
  roundingRateInput,
  scaleRateInput,
  weightParameters,
} from "../../reconstruction/update-rules.ts";
import { weightVariables } from "../../reconstruction/weight-variables.ts";
import { makeVariables } from "../../training/make-variables.ts";
import { buildStep } from "../../training/step.ts";
import { cutUnit } from "../../units/cut-unit.ts";
import { cutIntoUnits } from "../../units/units.ts";
import { sitesOf } from "../ptq/method.ts";

const engine = createReferenceEngine();

describeWithData("steps of another program in float64", (data) => {
  const place = [data, "reference_eqat"];
  const file = data ? readTensors(...place, "block_ap.safetensors") : new Map<string, Tensor>();
  const oracle = data ? JSON.parse(new TextDecoder().decode(readBytes(...place, "block_ap.json"))) : {};
  const layers = ["q", "k", "v", "o"]
    .map((which) => `self_attn.${which}_proj`)
    .concat(["gate", "up", "down"].map((which) => `mlp.${which}_proj`));
  const precise = { widen: { factor: 100, because: "the oracle holds to 1e-9" } };

  /** Rows of queries and keys in the order in which the graph has them: pairs (2i, 2i + 1) are (i, i + 4) of each head. */
  function arranged(layer: string, rows: Tensor): Tensor {
    if (!/[qk]_proj/.test(layer)) return rows;
    const [count, width] = rows.shape;
    const from = toNumbers(rows);
    const place = (row: number): number => row - (row % 8) + (row % 8 < 4 ? 2 * (row % 8) : 2 * (row % 8) - 7);
    const moved = Array.from({ length: count }, (_, row) =>
      from.slice(place(row) * width, (place(row) + 1) * width),
    ).flat();
    return tensorOf(rows.dtype, rows.shape, moved);
  }

  /** As the graph has it: [inputs, outputs]. */
  const given = (name: string): Tensor => {
    const found = file.get(name);
    assert(found, `the oracle has no ${name}`);
    const layer = layers.find((each) => name.includes(each));
    return layer ? transposedMatrix(arranged(layer, found)) : found;
  };

  const unitName = "model.layers.2";

  function quantizedBlock(): { readonly float: Graph; readonly quantized: Graph } {
    const folder = join(data, "stories260k", "hf");
    const { graph } = readLanguageModel(
      {
        holds: (name) => existsSync(join(folder, name)),
        open: (name) => bytesSource(readBytes(folder, name)),
      },
      { name: "stories260k", dtype: "float64" },
    );
    const float = withInputTypes(graph, new Map([["input_ids", { dtype: "int64", shape: ["batch", 64] }]]));
    const sites = sitesOf(float, quantizeOptions.parse({ weights: 2, groupSize: 32, activations: "float" }));
    const qparams = sites.weights.map((site) => {
      const name = `init.${site.name.replace(/^model\.layers\.\d\./, "").replace(/\.weight$/, "")}`;
      const [scale, zeroPoint] = ["scale", "zero"].map((what) => given(`${name}.${what}`));
      return [site.name, { scale, zeroPoint }] as const;
    });
    return { float, quantized: insertQuantizers(float, sites, new Map(qparams)) };
  }

  async function blockSteps() {
    const { float, quantized } = quantizedBlock();
    const unit = cutIntoUnits(float, "part").find(({ name }) => name === unitName);
    assert(unit, "no layer 2");
    const cut = cutUnit(setBatchSize(quantized, 2), unit.inputs, unit.outputs);
    const soft: SoftWeights = learnedWeights(
      { quantized, own: new Set(cut.constants.keys()) },
      float,
      { variable: "direct", trainsScale: true, subset: { by: "magnitude", share: 1 }, leastScale: 1e-4 },
      0,
    );
    const model = softenWeights(cut, soft);
    const parameters = [...weightParameters(soft, { optimizer: "adam", keep: "last" }), ...normParameters(model)];
    const { graph, initial } = makeVariables(
      model,
      parameters.map(({ name }) => name),
    );
    const [output] = unit.outputs;
    const step = buildStep({
      forward: graph,
      start: initial,
      loss: (build, forward) => {
        const target = build.input("target", build.type(output));
        return channelLoss(cut, { kind: "mse", isMean: true })(build, forward, new Map([[output, target]]));
      },
      parameters,
      microBatches: 1,
    });
    const variables = await engine.variables(step.initial);
    const program = (await engine.compile(step.graph)).bind(variables);
    const hidden = unit.inputs.find((input) => input !== "input_ids") ?? "";
    const inputs = new Map<string, Tensor>([
      [hidden, given("in_quant")],
      ["input_ids", given("ids")],
      ["target", given("target")],
      [roundingRateInput, scalar("float64", 2e-4)],
      [scaleRateInput, scalar("float64", 1e-3)],
    ]);
    const fed = new Map([...inputs].filter(([name]) => step.graph.inputs.includes(name)));
    const run = async (): Promise<number> => toNumbers((await program.run(fed)).get(step.loss)!)[0];
    const read = async (name: string): Promise<number[]> => toNumbers(await variables.read(name));
    const write = (name: string, value: Tensor): Promise<void> => variables.write(name, value);
    return { soft, run, read, write };
  }

  const outputOf = (layer: string, soft: SoftWeights): SoftWeights["weights"][number] => {
    const found = soft.weights.find(({ quantizer }) => quantizer.value === `${unitName}.${layer}.weight`);
    assert(found, `no weight of ${layer}`);
    return found;
  };

  /** What is trained of a layer, by the oracle's names. */
  const namesOf = (layer: string, soft: SoftWeights) => {
    const { variable, quantizer } = outputOf(layer, soft);
    return { weight: variable, scale: `${quantizer.output}/scale`, zero: `${quantizer.output}/zero_point` };
  };

  test("Block-AP: losses, gradients, and what two steps of Adam make of weights, norms, scales and zero points", async () => {
    const { soft, run, read, write } = await blockSteps();
    const norms = ["input_layernorm", "post_attention_layernorm"];
    const gradient = async (name: string): Promise<number[]> =>
      (await read(`${name}/first_moment`)).map((value) => value * 10);
    // The one scale below the floor starts at the floor here, and below it there: after the first step it goes on from there.
    const floored = namesOf("self_attn.q_proj", soft).scale;
    const close = async (name: string, at: string): Promise<void> => {
      const expected = given(at);
      if (at.startsWith("step0") && name === floored) {
        const found = await read(name);
        expect(Math.abs(found[0] - toNumbers(expected)[0])).toBeLessThan(5.1e-5);
        await write(name, tensorOf("float64", expected.shape, [toNumbers(expected)[0], ...found.slice(1)]));
      }
      expectClose(await read(name), toNumbers(expected), { ...precise, what: at });
    };

    for (const index of [0, 1]) {
      expectClose([await run()], [oracle.steps[index].loss], precise);
      for (const layer of layers)
        for (const [what, name] of Object.entries(namesOf(layer, soft))) {
          const at = `step${index}.${layer}.${what}`;
          if (index === 0 && file.has(`${at}.grad`))
            expectClose(await gradient(name), toNumbers(given(`${at}.grad`)), { ...precise, what: at });
          if (file.has(`${at}.after`)) await close(name, `${at}.after`);
        }
      for (const norm of norms) {
        const name = `${unitName}.${norm}.weight`;
        const at = `step${index}.${norm}.weight`;
        if (index === 0) expectClose(await gradient(name), toNumbers(given(`${at}.grad`)), { ...precise, what: at });
        await close(name, `${at}.after`);
      }
    }
    for (const layer of layers) {
      const weight = outputOf(layer, soft);
      const trained = new Map<string, Float64Array>();
      for (const name of Object.values(namesOf(layer, soft))) trained.set(name, Float64Array.from(await read(name)));
      const { integers } = weightVariables.direct.harden(weight, (name) => trained.get(name)!);
      expect(Array.from(integers)).toEqual(Array.from(numbersOf(given(`final.${layer}.q`))));
    }
  });
});

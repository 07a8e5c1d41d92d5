import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { expectClose } from "../../../test/support/close.ts";
import { describeWithData, readBytes, readTensors } from "../../../test/support/frostbit-data.ts";
import { createReferenceEngine } from "../../engines/reference/reference-engine.ts";
import { assert } from "../../ir/errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { roundHalfToEven } from "../../ir/round.ts";
import { numbersOf, scalar, type Tensor, tensorOf, toNumbers } from "../../ir/tensor.ts";
import { bytesSource, loaded } from "../../ir/tensor-source.ts";
import { transposedMatrix } from "../../ir/transposed-matrix.ts";
import { readLanguageModel } from "../../language-models/read.ts";
import { textDataset } from "../../language-models/text-data.ts";
import { setBatchSize } from "../../passes/set-batch-size.ts";
import { withInputTypes } from "../../passes/with-input-types.ts";
import { insertQuantizers } from "../../quantizers/insert.ts";
import type { Qparams } from "../../quantizers/qparams.ts";
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
import { labelsInput } from "../../training/loss.ts";
import { makeVariables } from "../../training/make-variables.ts";
import { buildStep } from "../../training/step.ts";
import { cutUnit } from "../../units/cut-unit.ts";
import { cutIntoUnits } from "../../units/units.ts";
import { classesThatTrain } from "../check-training.ts";
import { stepOf } from "../e2e-qp/e2e-qp.ts";
import { storeIntegers } from "../e2e-qp/stored-integers.ts";
import { sitesOf } from "../ptq/method.ts";
import { labelsFor } from "../train-model.ts";

const engine = createReferenceEngine();

/** stories260K in float64 on sequences of 64 tokens. */
function storiesIn64(data: string): Graph {
  const folder = join(data, "stories260k", "hf");
  const { graph } = readLanguageModel(
    {
      holds: (name) => existsSync(join(folder, name)),
      open: (name) => bytesSource(readBytes(folder, name)),
    },
    { name: "stories260k", dtype: "float64" },
  );
  return withInputTypes(graph, new Map([["input_ids", { dtype: "int64", shape: ["batch", 64] }]]));
}

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

/** Tensors of an oracle; those of layers as the graph has them: [inputs, outputs]. */
const reader =
  (file: ReadonlyMap<string, Tensor>) =>
  (name: string): Tensor => {
    const found = file.get(name);
    assert(found, `the oracle has no ${name}`);
    const layer = layers.find((each) => name.includes(each));
    return layer ? transposedMatrix(arranged(layer, found)) : found;
  };

const inGroups = quantizeOptions.parse({ weights: 2, groupSize: 32, activations: "float" });

describeWithData("two steps of Block-AP of another program in float64", (data) => {
  const place = [data, "reference_eqat"];
  const file = data ? readTensors(...place, "block_ap.safetensors") : new Map<string, Tensor>();
  const oracle = data ? JSON.parse(new TextDecoder().decode(readBytes(...place, "block_ap.json"))) : {};
  const given = reader(file);
  const unitName = "model.layers.2";

  function quantizedBlock(): { readonly float: Graph; readonly quantized: Graph } {
    const float = storiesIn64(data);
    const sites = sitesOf(float, inGroups);
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

  test("losses, gradients, and what the steps of Adam make of weights, norms, scales and zero points", async () => {
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

describeWithData("a step of E2E-QP of another program in float64", (data) => {
  const place = [data, "reference_eqat"];
  const file = data ? readTensors(...place, "e2e_qp.safetensors") : new Map<string, Tensor>();
  const oracle = data ? JSON.parse(new TextDecoder().decode(readBytes(...place, "e2e_qp.json"))) : {};
  const given = reader(file);

  /** Of all weights of a group and no zero besides: s = (max − min) / 3, z = R(−min / s). */
  function plainQparams(weight: Tensor): Qparams {
    const [inputs, rows] = weight.shape;
    const groups = Math.ceil(inputs / 32);
    const values = toNumbers(weight);
    const scale = new Float64Array(groups * rows);
    const zero = new Float64Array(groups * rows);
    for (let group = 0; group < groups; group++)
      for (let row = 0; row < rows; row++) {
        const own = Array.from(
          { length: Math.min(32, inputs - 32 * group) },
          (_, i) => values[(32 * group + i) * rows + row],
        );
        const [low, high] = [Math.min(...own), Math.max(...own)];
        const step = (high - low) / 3;
        scale[group * rows + row] = step;
        zero[group * rows + row] = roundHalfToEven(-low / step);
      }
    const shape = [groups, rows];
    return { scale: tensorOf("float64", shape, scale), zeroPoint: tensorOf("float64", shape, zero) };
  }

  test.each(["never", "always"] as const)(
    "losses, clipped gradients of all scales, and what a step of Adam makes of them, recomputed %s",
    async (recompute) => {
      const float = storiesIn64(data);
      const sites = sitesOf(float, inGroups);
      const qparams = sites.weights.map(
        (site) => [site.name, plainQparams(loaded(float.constants.get(site.value)!))] as const,
      );
      const stored = storeIntegers(insertQuantizers(float, sites, new Map(qparams)), float);
      const ids = given("ids");
      const sequences = [0, 64].map((start) => toNumbers(ids).slice(start, start + 64));
      const dataset = textDataset("text", sequences);
      const classes = classesThatTrain(float, dataset, "cross-entropy");
      const options = { loss: "cross-entropy", batch: 2, accumulate: 1, clipNorm: 0.3, recompute } as const;
      const step = stepOf({ original: float, float, outputs: undefined }, stored, options, classes);
      const indices = Int32Array.of(0, 1);
      const { labels } = labelsFor(dataset, classes)({ ...(await dataset.read(indices)), index: 0, indices });
      const variables = await engine.variables(step.initial);
      const program = (await engine.compile(step.graph)).bind(variables);
      const fed = new Map([
        ["input_ids", ids],
        [labelsInput, labels!],
        ["frostbit/learning_rate", scalar("float64", oracle.lr)],
      ]);
      const lossOf = async (): Promise<number> => toNumbers((await program.run(fed)).get(step.loss)!)[0];
      expectClose([await lossOf()], [oracle.loss], precise);
      for (let i = 0; i < 5; i++)
        for (const layer of layers) {
          const { scale } = stored.weights.get(
            [...stored.weights.keys()].find((name) => name.startsWith(`model.layers.${i}.${layer}`))!,
          )!;
          const name = `layers.${i}.${layer}.scale`;
          const gradient = toNumbers(await variables.read(`${scale}/first_moment`)).map((moment) => moment * 10);
          const clipped = toNumbers(given(`${name}.grad`)).map((value) => value * oracle.clip_coefficient);
          expectClose(gradient, clipped, { ...precise, what: name });
          const after = toNumbers(await variables.read(scale));
          if (i === 0) expectClose(after, toNumbers(given(`${name}.after`)), { ...precise, what: name });
          const squares = after.reduce((sum, value) => sum + value ** 2, 0);
          expectClose([squares], [oracle.sum_sq_scale_after[`layers.${i}.${layer}`]], precise);
        }
      expectClose([await lossOf()], [oracle.loss_after], precise);
    },
  );
});

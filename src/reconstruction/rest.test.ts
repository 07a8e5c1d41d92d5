import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { createRandom } from "../../test/support/random.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { quantizeTiny, tinyBatch, tinyClassifier } from "../../test/support/tiny-classifier.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { scalar, type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { makeVariables } from "../training/make-variables.ts";
import { buildStep } from "../training/step.ts";
import { cutUnit } from "../units/cut-unit.ts";
import type { UnitData } from "../units/optimize-units.ts";
import { randomCounters } from "../units/random-counters.ts";
import { cutIntoUnits } from "../units/units.ts";
import { fisherWeights } from "./fisher.ts";
import { channelLoss, fisherInput, lossName, scoresInput } from "./loss.ts";
import { besidesInput, restOf } from "./rest.ts";
import { dropQuantization, learnedParameters, learnedWeights, softenWeights } from "./soft-unit.ts";
import { weightParameters } from "./update-rules.ts";

const float = tinyClassifier("float64");
const quantized = quantizeTiny(float, { weights: 3, activations: 4, asymmetricWeights: false });
const engine = createReferenceEngine();
const batch = 3;
const { images } = tinyBatch("float64", batch, 5);
const [temperature, predictionWeight] = [4, 10];

const run = (graph: Graph, inputs: ReadonlyMap<string, Tensor>) => runGraph(engine, graph, inputs);

const numbersAt = (values: ReadonlyMap<string, Tensor>, name: string): readonly number[] => {
  const value = values.get(name);
  assert(value, `no "${name}"`);
  return toNumbers(value);
};

/** Written down: the mean over samples of Σ p (log p − log q). */
function divergence(wanted: readonly number[], given: readonly number[]): number {
  const classes = wanted.length / batch;
  const logs = (scores: readonly number[], row: number): readonly number[] => {
    const own = scores.slice(row * classes, (row + 1) * classes).map((score) => score / temperature);
    const total = Math.log(own.reduce((sum, score) => sum + Math.exp(score), 0));
    return own.map((score) => score - total);
  };
  let sum = 0;
  for (let row = 0; row < batch; row++) {
    const [p, q] = [logs(wanted, row), logs(given, row)];
    p.forEach((log, i) => {
      sum += Math.exp(log) * (log - q[i]);
    });
  }
  return sum / batch;
}

async function stepOf(index: number, kind: "mse" | "prediction", drop: number) {
  const units = cutIntoUnits(float, "layer");
  const unit = units[index];
  const cut = cutUnit(setBatchSize(quantized, batch), unit.inputs, unit.outputs);
  const learning = { variable: "sigmoid", trainsScale: false, subset: { by: "magnitude", share: 1 } } as const;
  const learned = learnedWeights({ quantized, own: new Set(cut.constants.keys()) }, float, learning, 3);
  const softened = softenWeights(cut, learned);
  const soft = drop > 0 ? dropQuantization(softened, drop) : softened;
  const parameters = weightParameters(learned, { optimizer: "adam", keep: "last" });
  const { graph, initial } = makeVariables(
    soft,
    parameters.map(({ name }) => name),
  );
  const rest = restOf(float, units, index, batch);
  const settings = { kind, temperature, predictionWeight };
  const step = buildStep({
    forward: graph,
    start: initial,
    loss: (build, forward) =>
      channelLoss(cut, settings, kind === "prediction" ? rest : undefined)(
        build,
        forward,
        new Map(unit.targets.map((output) => [output, build.input(`target ${output}`, build.type(output))])),
      ),
    parameters,
    microBatches: 1,
  });
  const names = [...new Set([...unit.inputs, ...unit.outputs, ...rest.besides, ...float.outputs])];
  const needed = names.filter((name) => !float.inputs.includes(name));
  const given = new Map([["input", images]]);
  const floats = new Map([...given, ...(await run({ ...setBatchSize(float, batch), outputs: needed }, given))]);
  const coarse = new Map([...given, ...(await run({ ...setBatchSize(quantized, batch), outputs: needed }, given))]);
  const fed = new Map([
    ...coarse,
    ...unit.targets.map((output) => [`target ${output}`, floats.get(output)] as const),
    ...rest.besides.map((name) => [besidesInput(name), coarse.get(name)] as const),
    [scoresInput, floats.get(float.outputs[0])] as const,
    ...["rounding-rate", "lambda"].map((name) => [`frostbit/${name}`, scalar("float64", 0)] as const),
    ["frostbit/beta", scalar("float64", 20)] as const,
    ...[...randomCounters(soft, 9, 0)].map(([name, at]) => [name, at(0, 0) as Tensor] as const),
  ]);
  const inputs = new Map<string, Tensor>();
  for (const name of step.graph.inputs) inputs.set(name, fed.get(name) ?? assertNone(name));
  const variables = await engine.variables(step.initial);
  const program = (await engine.compile(step.graph)).bind(variables);
  const loss = numbersAt(await program.run(inputs), step.loss)[0];
  const moment = async (name: string) =>
    toNumbers(await variables.read(`${name}/first_moment`)).map((value) => value * 10);
  return { loss, moment, learned, soft, unit, coarse, floats, rest };
}

function assertNone(name: string): never {
  throw new Error(`nothing is known of "${name}"`);
}

describe("the loss of predictions", () => {
  test.each([0, 1, 2])(
    "has the gradient of finite differences through the rest of the network, unit %i",
    async (index) => {
      const [both, squared] = [await stepOf(index, "prediction", 0), await stepOf(index, "mse", 0)];
      const { soft, unit, coarse, floats, learned } = both;
      const wanted = numbersAt(floats, float.outputs[0]);
      /** By the unit as it is soft, and what follows it as a graph of its own. */
      const divergenceAt = async (name: string, moved: readonly number[]): Promise<number> => {
        const shape = soft.constants.get(name)?.shape ?? [];
        const constants = new Map([...soft.constants, [name, tensorOf("float64", shape, moved)]]);
        const inputs = new Map(unit.inputs.map((input) => [input, coarse.get(input) ?? assertNone(input)]));
        const outputs = new Map([...coarse, ...(await run({ ...soft, constants }, inputs))]);
        const { graph } = both.rest;
        const values = new Map(graph.inputs.map((input) => [input, outputs.get(input) ?? assertNone(input)]));
        const scores = graph.nodes.length === 0 ? values : await run(graph, values);
        return divergence(wanted, numbersAt(scores, float.outputs[0]));
      };
      for (const { name, start } of learnedParameters(learned)) {
        const at = [...toNumbers(start)];
        expectClose([(both.loss - squared.loss) / predictionWeight], [await divergenceAt(name, at)], {
          widen: { factor: 1e4, because: "a difference of two losses" },
        });
        const [all, without] = [await both.moment(name), await squared.moment(name)];
        const places = [0, 7, at.length - 1];
        const expected: number[] = [];
        for (const place of places) {
          const moved = (by: number) =>
            divergenceAt(
              name,
              at.map((value, i) => (i === place ? value + by : value)),
            );
          expected.push(((await moved(1e-5)) - (await moved(-1e-5))) / 2e-5);
        }
        expectClose(
          places.map((place) => (all[place] - without[place]) / predictionWeight),
          expected,
          { as: "finiteDifferences", widen: { factor: 10, because: "a difference of two gradients" } },
        );
      }
    },
  );

  test("sees activations quantized, though the squared difference sees some that are not", async () => {
    const part = async (drop: number) =>
      (await stepOf(1, "prediction", drop)).loss - (await stepOf(1, "mse", drop)).loss;
    expect((await stepOf(1, "mse", 0.5)).loss).not.toBe((await stepOf(1, "mse", 0)).loss);
    expectClose([await part(0.5)], [await part(0)], { widen: { factor: 1e4, because: "a difference of two losses" } });
  });
});

describe("weights by Fisher information", () => {
  test("are the gradients of the divergence, by finite differences, and 1 in the mean without damping", async () => {
    const [index, step] = [1, await stepOf(1, "prediction", 0)];
    const { unit, coarse, floats, rest } = step;
    const of =
      (values: ReadonlyMap<string, Tensor>) =>
      async (_: unknown, names: readonly string[], samples: ArrayLike<number>) =>
        new Map(names.map((name) => [name, rowsOf(values.get(name) ?? assertNone(name), samples)] as const));
    const read = of(coarse);
    const data = {
      unit,
      index,
      quantized,
      values: read,
      inputs: (stream: "quantized" | "float", samples: ArrayLike<number>) => read(stream, unit.inputs, samples),
    } as unknown as UnitData;
    const wanted = floats.get(float.outputs[0]) ?? assertNone("scores");
    const predictions = { rest, scores: (samples: ArrayLike<number>) => rowsOf(wanted, samples) };
    const job = { data, predictions, samples: batch, batch };
    const weights = await fisherWeights({ ...job, damping: 1 }, { engine, seed: 1 });
    const [target] = unit.targets;
    const found = numbersAt(weights([0, 1, 2]), target);
    const output = coarse.get(target) ?? assertNone(target);
    const at = async (place: number, by: number): Promise<number> => {
      const values = toNumbers(output).map((value, i) => (i === place ? value + by : value));
      const moved = new Map([...coarse, [target, tensorOf("float64", output.shape, values)]]);
      const given = new Map(rest.graph.inputs.map((input) => [input, moved.get(input) ?? assertNone(input)]));
      const scores = numbersAt(await run(rest.graph, given), float.outputs[0]).map((value) => value * temperature);
      return divergence(
        numbersAt(floats, float.outputs[0]).map((value) => value * temperature),
        scores,
      );
    };
    const places = [3, 200, found.length - 2];
    const expected: number[] = [];
    for (const place of places) expected.push(1 + Math.abs((await at(place, 1e-5)) - (await at(place, -1e-5))) / 2e-5);
    expectClose(
      places.map((place) => found[place]),
      expected,
      { as: "finiteDifferences" },
    );
    expect(Math.max(...found)).toBeGreaterThan(1);
    const alone = numbersAt((await fisherWeights({ ...job, damping: 0 }, { engine, seed: 1 }))([0, 1, 2]), target);
    expect(alone.reduce((sum, value) => sum + value, 0) / alone.length).toBeCloseTo(1, 5);
    expect(alone[3] / alone[200]).toBeCloseTo((found[3] - 1) / (found[200] - 1), 3);
  });

  test("weigh the difference element by element, or together", async () => {
    const build = buildOn();
    const type = { dtype: "float64", shape: [2, 3, 2, 2] } as const;
    const random = createRandom(2);
    const [y, t, g] = [0, 1, 2].map(() => random.tensor("float64", type.shape));
    const x = build.input("y", type);
    const unit = build.graph([x]);
    const target = build.input("t", type);
    const losses = (["fisher-diagonal", "fisher-full"] as const).map((kind) => {
      const own = buildOn(build.graph([x]));
      const loss = channelLoss(unit, { kind })(own, unit, new Map([[x, target]]));
      return run(
        own.graph([loss]),
        new Map([
          ["y", y],
          ["t", t],
          [fisherInput("y"), g],
        ]),
      );
    });
    const sizes = toNumbers(y).map((value, i) => Math.abs(value - toNumbers(t)[i]) * toNumbers(g)[i]);
    const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);
    const signed = total(sizes.map((value) => value * value)) / sizes.length;
    const own = toNumbers(y).map((value, i) => (value - toNumbers(t)[i]) * toNumbers(g)[i]);
    const sample = own.length / 2;
    const together = [0, 1].map((n) => {
      const each = own.slice(n * sample, (n + 1) * sample).map(Math.abs);
      return total(each) ** 2;
    });
    const [diagonal, full] = await Promise.all(losses);
    // No layer here: channels are the last axis.
    expectClose(numbersAt(diagonal, lossName), [signed * 2]);
    expectClose(numbersAt(full, lossName), [total(together) / own.length / 100]);
  });
});

function rowsOf(value: Tensor, samples: ArrayLike<number>): Tensor {
  const size = value.data.length / value.shape[0];
  const numbers = toNumbers(value);
  const chosen = Array.from(samples, (at) => numbers.slice(at * size, (at + 1) * size)).flat();
  return tensorOf(value.dtype, [samples.length, ...value.shape.slice(1)], chosen);
}

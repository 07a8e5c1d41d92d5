import { expect, test } from "vitest";
import { drawSentences, places, sentenceClassifier } from "../../test/support/sentences.ts";
import { tinyOrigin } from "../../test/support/tiny-classifier.ts";
import type { Dataset } from "../data/dataset.ts";
import { preprocessPresets } from "../data/preprocess.ts";
import type { Engine } from "../engines/engine.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { engines } from "../engines/table.ts";
import { inputTypes } from "../ir/batch-axes.ts";
import { writeOnnx } from "../onnx/write.ts";
import { measureGraph } from "./evaluate-graph.ts";
import { measureFile } from "./evaluate-model.ts";
import { datasetFor } from "./model-file.ts";
import type { OwnMetric } from "./own-metric.ts";
import { withSizesOf } from "./sizes-of-data.ts";

const count = 200;
const sentences = drawSentences(count);
const { lengths, ...whole } = sentences;
const padded: Dataset = whole;
const preprocess = preprocessPresets.none;

/** Notes how long what it runs is. */
function watching(engine: Engine): Engine & { readonly seen: Set<number> } {
  const seen = new Set<number>();
  return {
    ...engine,
    seen,
    precisions: engine.precisions,
    compile: async (graph, options) => {
      const executable = await engine.compile(graph, options);
      return {
        ...executable,
        bind: (variables, names) => {
          const program = executable.bind(variables, names);
          return {
            ...program,
            run: (inputs, settings) => {
              for (const { shape } of inputs.values()) seen.add(shape[1]);
              return program.run(inputs, settings);
            },
          };
        },
      };
    },
  };
}

const sorted = (values: readonly number[] = []): readonly number[] => [...values].sort((a, b) => a - b);

const names = (["reference", "onnxruntime", "native"] as const).filter((name) => engines[name].isAvailable());

test.each(names)("engine %s: batches of similar length measure what padded ones do, sample by sample", async (name) => {
  const engine = watching(engines[name].create());
  const graph = withSizesOf(sentenceClassifier(), padded, preprocess);
  const context = { engine, seed: 0 };
  const atOnce = await measureGraph(graph, padded, preprocess, context, "evaluate");
  expect([...engine.seen]).toEqual([places]);
  engine.seen.clear();
  const parts = await measureGraph(graph, sentences, preprocess, context, "evaluate");
  expect(sorted([...engine.seen])).toEqual([8, 16, 24, places]);
  expect(parts.metrics.top1).toBe(atOnce.metrics.top1);
  expect(parts.metrics.loss).toBeCloseTo(atOnce.metrics.loss ?? Number.NaN, 5);
  const [own, expected] = [sorted(parts.bySample.loss), sorted(atOnce.bySample.loss)];
  expect(own).toHaveLength(count);
  for (const [i, value] of own.entries()) expect(value).toBeCloseTo(expected[i], 5);
});

test("a file is run on as many places as the longest of a batch has; one that fixes them, on all", async () => {
  for (const [size, all] of [
    ["length", [8, 16, 24, 30]],
    [places, [places]],
  ] as const) {
    const file = await openDeployed(writeOnnx({ graph: sentenceClassifier(size), origin: tinyOrigin }, { opset: 17 }));
    const seen = new Set<number>();
    const watched: typeof file = {
      ...file,
      run: (inputs, fetch) => {
        for (const { shape } of inputs.values()) seen.add(shape[1]);
        return file.run(inputs, fetch);
      },
    };
    const measured = await measureFile(watched, sentences, { preprocess, batchSize: 6 });
    const whole = await measureFile(file, padded, { preprocess, batchSize: 6 });
    expect(sorted([...seen])).toEqual(all);
    expect(measured?.metrics.top1).toBe(whole?.metrics.top1);
    expect(measured?.metrics.loss).toBeCloseTo(whole?.metrics.loss ?? Number.NaN, 5);
    await file.dispose();
  }
});

test("lengths are of no use to a model that fixes them", () => {
  const types = (size: string | number) => ({ inputs: inputTypes(sentenceClassifier(size)) });
  expect(datasetFor(types("length"), sentences, preprocess).lengths).toEqual(lengths);
  expect(datasetFor(types(places), sentences, preprocess).lengths).toBeUndefined();
});

test("a metric of one's own sees samples in their order, as long as they are given", async () => {
  const file = await openDeployed(writeOnnx({ graph: sentenceClassifier(), origin: tinyOrigin }, { opset: 17 }));
  const seen: number[] = [];
  const watched: typeof file = {
    ...file,
    run: (inputs, fetch) => {
      seen.push(inputs.get("input_ids")?.shape[1] ?? 0);
      return file.run(inputs, fetch);
    },
  };
  const given: number[] = [];
  const metric: OwnMetric = {
    name: "share of class 0",
    higherIsBetter: true,
    of: (_, labels) => {
      given.push(Number(labels?.data[0]));
      return Number(given.at(-1) === 0);
    },
  };
  await measureFile(watched, sentences, { preprocess, batchSize: 50, metric });
  expect(seen).toEqual([places, places, places, places]);
  expect(given.slice(0, 6)).toEqual([0, 1, 2, 0, 1, 2]);
  await file.dispose();
});

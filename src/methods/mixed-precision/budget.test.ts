import { expect, test } from "vitest";
import { quantizeTiny, tinyClassifier, tinyOrigin } from "../../../test/support/tiny-classifier.ts";
import { exportFormats, writeFormat } from "../../export/formats.ts";
import type { Graph } from "../../ir/graph.ts";
import { tensorOf } from "../../ir/tensor.ts";
import { foldQuantizers } from "../../quantizers/fold.ts";
import { quantizeOptions } from "../../quantizers/quantize-options.ts";
import { fileBytesOf } from "./budget.ts";
import { choicesOf } from "./choices.ts";

const sizeOf = (quantized: Graph): number => {
  const source = { folded: foldQuantizers(quantized, "int32"), origin: tinyOrigin, storage: "packed" } as const;
  return writeFormat("qdq", exportFormats.qdq, source).reduce((sum, { bytes }) => sum + bytes.length, 0);
};

test("a file is no larger than foreseen where every activation has a zero point of its own", () => {
  const graph = tinyClassifier("float32");
  const options = { weights: 8, placement: "runtime" } as const;
  const quantize = quantizeOptions.parse(options);
  const foreseen = fileBytesOf(graph, quantize, choicesOf(graph, quantize, [8]), sizeOf);
  let count = 0;
  const different = quantizeTiny(graph, options, (qparams, { readers, granularity }) => {
    if (granularity !== "tensor" || readers.length === 0) return qparams;
    const { dtype, shape } = qparams.zeroPoint;
    return { ...qparams, zeroPoint: tensorOf(dtype, shape, [100 + count++]) };
  });
  expect(count).toBeGreaterThan(4);
  const widths = choicesOf(graph, quantize, [8]).free.map(() => 8);
  expect(sizeOf(different)).toBeGreaterThan(sizeOf(quantizeTiny(graph, options)));
  expect(foreseen(widths)).toBeGreaterThanOrEqual(sizeOf(different));
});

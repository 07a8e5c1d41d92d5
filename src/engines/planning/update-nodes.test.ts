import { expect, test } from "vitest";
import { quantizeTiny, tinyClassifier } from "../../../test/support/tiny-classifier.ts";
import { buildPlannedStep } from "../../training/planned-step.ts";
import { updateNodes } from "./update-nodes.ts";

test("what makes gradients alone is told from the forward pass, whether they update variables or are outputs", () => {
  const stepOf = (microBatches: number) =>
    buildPlannedStep(quantizeTiny(tinyClassifier("float32")), {
      batchSize: 4,
      loss: "cross-entropy",
      optimizer: { kind: "sgd", momentum: 0, weightDecay: 0 },
      plan: new Map(),
      freezesStatistics: true,
      microBatches,
    });
  const [whole, part] = [stepOf(1), stepOf(2)];
  const early = (step: typeof whole): readonly string[] => {
    const late = updateNodes(
      step.graph,
      step.summed.map(({ output }) => output),
    );
    return step.graph.nodes.filter((node) => !late.has(node)).map(({ name }) => name);
  };
  expect(early(part)).toEqual(early(whole));
  expect(early(part).length).toBeLessThan(part.graph.nodes.length / 2);
});

// Choices at random, as functions of a counter: the same counter gives the same choices on every engine.
import { mismatch, numberAttribute, printShape } from "./attributes.ts";
import type { OwnOpDefinition } from "./definition.ts";
import { floats, integers, optional, tied } from "./inputs.ts";
import { costPerElement } from "./pointwise.ts";

/**
 * y = a where the bits drawn for the counter and the element's place are below `probability` · 2³², else b; what is left out counts
 * as 0. da = dy where a was chosen, db = dy elsewhere.
 */
export const RandomChoice: OwnOpDefinition = {
  introduced: "own",
  inputs: [optional(tied(floats)), optional(tied(floats)), integers],
  outputs: 1,
  sampleAxis: "coupled",
  movesValues: false,
  infer: ({ node, inputs: [a, b] }) => {
    const probability = numberAttribute(node, "probability", 0.5);
    if (!(probability > 0 && probability < 1))
      throw mismatch(node, `probability is ${probability}; expected more than 0 and less than 1.`);
    const type = a ?? b;
    if (!type) throw mismatch(node, "it has neither a nor b.");
    if (a && b && String(a.shape) !== String(b.shape))
      throw mismatch(node, `a is ${printShape(a.shape)} and b ${printShape(b.shape)}; expected the same shape.`);
    return [{ dtype: type.dtype, shape: type.shape }];
  },
  gradient: ({ node, build, dys: [dy], wants }) => {
    if (dy === undefined) return [];
    const [a, b, counter] = node.inputs;
    const chosen = (inputs: readonly (string | undefined)[]): string =>
      build.node("RandomChoice", [...inputs, counter], node.attributes);
    return [
      a && wants(0) !== "none" ? chosen([dy, undefined]) : undefined,
      b && wants(1) !== "none" ? chosen([undefined, dy]) : undefined,
    ];
  },
  cost: costPerElement,
};

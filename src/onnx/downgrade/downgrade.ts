// What a rule that writes a node in the form of an older opset is given, and gives.
import type { Attribute, Node, ValueType } from "../../ir/graph.ts";
import type { Tensor } from "../../ir/tensor.ts";

export interface DowngradeContext {
  readonly node: Node;
  readonly opset: number;
  readonly type: (value: string) => ValueType;
  /** The numbers of a constant input; throws the error of `needs` if it is not a constant. `undefined` if it is left out. */
  readonly numbersOf: (input: number, opsetIfNot: number) => readonly number[] | undefined;
  readonly constantOf: (value: string) => Tensor | undefined;
  readonly constant: (hint: string, value: Tensor) => string;
  /** A node beside this one, with one new value as its output. */
  readonly beside: (op: string, inputs: readonly string[], attributes?: Readonly<Record<string, Attribute>>) => Node;
}

/** Applies when the opset to be written is below `before`. The nodes that replace `node`, in order. */
export interface Downgrade {
  readonly before: number;
  readonly downgrade: (context: DowngradeContext) => readonly Node[];
}

/** Thrown by rules: the node cannot be written below `opset`. */
export class NeedsOpset extends Error {
  readonly opset: number;

  constructor(opset: number, why: string) {
    super(why);
    this.name = "NeedsOpset";
    this.opset = opset;
  }
}

export const withAttributes = (node: Node, attributes: Readonly<Record<string, Attribute | undefined>>): Node => ({
  ...node,
  attributes: Object.fromEntries(
    Object.entries({ ...node.attributes, ...attributes }).filter(
      (entry): entry is [string, Attribute] => entry[1] !== undefined,
    ),
  ),
});

// What a rule that brings a node of an older opset to the newest is given, and gives.

import { FrostbitError } from "../../ir/errors.ts";
import type { Attribute, Node, ValueType } from "../../ir/graph.ts";
import { describeNode } from "../../ir/graph.ts";
import type { Tensor } from "../../ir/tensor.ts";

export interface UpgradeContext {
  readonly node: Node;
  readonly opset: number;
  readonly type: (value: string) => ValueType;
  readonly constantOf: (value: string) => Tensor | undefined;
  /** Adds a constant; `hint` ends its name. */
  readonly constant: (hint: string, value: Tensor) => string;
  readonly ints: (hint: string, values: readonly number[]) => string;
  /** A node beside this one, with one new value as its output. */
  readonly beside: (op: string, inputs: readonly string[], attributes?: Readonly<Record<string, Attribute>>) => Node;
  /** Whether a node or the graph's outputs use the value. */
  readonly isUsed: (value: string) => boolean;
}

/** Applies to models of an opset below `before`. The nodes that replace `node`, in order; they give the same outputs. */
export interface Upgrade {
  readonly before: number;
  readonly upgrade: (context: UpgradeContext) => readonly Node[];
}

/** For rules that apply whatever the opset. */
export const always = Number.POSITIVE_INFINITY;

export const withoutAttributes = (node: Node, ...names: readonly string[]): Readonly<Record<string, Attribute>> =>
  Object.fromEntries(Object.entries(node.attributes).filter(([name]) => !names.includes(name)));

export const cannotUpgrade = (node: Node, opset: number, what: string): FrostbitError =>
  new FrostbitError("UNSUPPORTED_OP", `${describeNode(node)} of opset ${opset}: ${what}`);

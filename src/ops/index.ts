// Every operator that we know, collected from the family files; the keys are the type OpType.
// A family file exports operator definitions and nothing else.
import * as bitwise from "./bitwise.ts";
import * as convolution from "./convolution.ts";
import type { AnyOpDefinition, OwnOpDefinition } from "./definition.ts";
import * as elementwise from "./elementwise.ts";
import * as indexing from "./indexing.ts";
import * as levels from "./levels.ts";
import * as loss from "./loss.ts";
import * as normalization from "./normalization.ts";
import * as pooling from "./pooling.ts";
import * as product from "./product.ts";
import * as quantization from "./quantization.ts";
import * as random from "./random.ts";
import * as recurrent from "./recurrent.ts";
import * as reduction from "./reduction.ts";
import * as resize from "./resize.ts";
import * as sampleNormalization from "./sample-normalization.ts";
import * as shape from "./shape.ts";
import * as trigonometric from "./trigonometric.ts";
import * as update from "./update.ts";

export const ops = {
  ...bitwise,
  ...convolution,
  ...elementwise,
  ...indexing,
  ...levels,
  ...loss,
  ...normalization,
  ...pooling,
  ...product,
  ...quantization,
  ...random,
  ...recurrent,
  ...reduction,
  ...resize,
  ...sampleNormalization,
  ...shape,
  ...trigonometric,
  ...update,
} satisfies Record<string, AnyOpDefinition>;

export type OpType = keyof typeof ops;
/** Operators that ONNX does not have. */
export type OwnOpType = { [Op in OpType]: (typeof ops)[Op] extends OwnOpDefinition ? Op : never }[OpType];

export const opTypes = Object.keys(ops) as readonly OpType[];
export const isOwn = (op: string): op is OwnOpType => opDefinition(op)?.introduced === "own";
export const isOpType = (op: string): op is OpType => Object.hasOwn(ops, op);
export const opDefinition = (op: string): AnyOpDefinition | undefined => (isOpType(op) ? ops[op] : undefined);

// Choices at random, in 64-bit integers that hold 32-bit ones.
import { elementStep } from "../../../ir/random-bits.ts";
import { scalar, sizeOf } from "../../../ir/tensor.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import { type LoweringContext, type LoweringRule, staticShapeOf } from "../lowering.ts";

const RandomChoice: LoweringRule = (context) => {
  const { node, emit, has, input, outputType, set } = context;
  const shape = staticShapeOf(outputType(0));
  const limit = Math.ceil(numberAttribute(node, "probability", 0.5) * 2 ** 32);
  const bits = emit.reshape(bitsOf(context, sizeOf(shape)), shape);
  const nothing = emit.constant(scalar(outputType(0).dtype, 0));
  const [a, b] = [0, 1].map((i) => (has(i) ? input(i, "plain") : nothing));
  set(0, emit.node("Where", [emit.node("Less", [bits, emit.scalar(limit, "int64")]), a, b]));
};

/** `elementBits` of ir/random-bits.ts for as many elements. */
function bitsOf({ emit, input, shared, node }: LoweringContext, count: number): string {
  const whole = (value: number): string => emit.scalar(value, "int64");
  const low = (value: string): string => emit.node("BitwiseAnd", [value, whole(2 ** 32 - 1)]);
  const mixed = (value: string, shift: number): string =>
    emit.node("BitwiseXor", [value, emit.node("Div", [value, whole(2 ** shift)])]);
  const times = (value: string, factor: number): string => low(emit.node("Mul", [value, whole(factor)]));
  return shared(`random:${node.inputs[2]}:${count}`, () => {
    const places = shared(`random places:${count}`, () =>
      emit.ints(Array.from({ length: count }, (_, i) => Math.imul(i, elementStep))),
    );
    const counter = emit.node("Cast", [input(2)], { to: "int64" });
    const start = low(emit.node("Add", [places, counter]));
    return mixed(times(mixed(times(mixed(start, 16), 0x85ebca6b), 13), 0xc2b2ae35), 16);
  });
}

export const randomLowerings = { RandomChoice };

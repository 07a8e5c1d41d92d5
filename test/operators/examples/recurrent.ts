// Examples of recurrent layers: a sequence of 4 for 3 samples of 5 numbers, a state of 2.
import { tensorOf } from "../../../src/ir/tensor.ts";
import { draw, type Form, type Forms } from "./example.ts";

const { normal } = draw(31);
const lengths = tensorOf("int32", [3], [4, 2, 3]);

function forms(gates: number, others: readonly Form[], hasCell: boolean): Forms {
  const parts = (directions: number) =>
    [normal(4, 3, 5), normal(directions, 2 * gates, 5), normal(directions, 2 * gates, 2)] as const;
  const bias = (directions: number) => normal(directions, 4 * gates);
  const states = (directions: number) =>
    hasCell ? [normal(directions, 3, 2), normal(directions, 3, 2)] : [normal(directions, 3, 2)];
  const outputs = hasCell ? 3 : 2;
  const cotangents = Array.from({ length: outputs }, (_, i) => i);
  const of = (direction: string) => ({ hidden_size: 2, direction });
  const all = [...parts(1), bias(1), lengths, ...states(1)];
  return [
    { inputs: [...parts(1)], attributes: { hidden_size: 2 }, outputs },
    { name: "all inputs", inputs: all, attributes: of("forward"), outputs, cotangents },
    { name: "reverse", inputs: all, attributes: of("reverse"), outputs, cotangents },
    { name: "the last state alone", inputs: all, attributes: of("reverse"), outputs, cotangents: [1] },
    {
      name: "both ways",
      inputs: [...parts(2), bias(2), undefined, ...states(2)],
      attributes: of("bidirectional"),
      outputs,
      cotangents,
    },
    {
      name: "both ways, lengths",
      inputs: [...parts(2), bias(2), lengths],
      attributes: of("bidirectional"),
      outputs,
      cotangents,
    },
    { name: "the sequence alone", inputs: [...parts(1), bias(1)], attributes: of("reverse"), outputs: 1 },
    ...others,
  ];
}

const gru = (linear: number): Form => ({
  name: "reset behind the product",
  inputs: [normal(4, 3, 5), normal(1, 6, 5), normal(1, 6, 2), normal(1, 12), undefined, normal(1, 3, 2)],
  attributes: { hidden_size: 2, linear_before_reset: linear },
  outputs: 2,
  cotangents: [0, 1],
});

const peepholes: Form = {
  name: "peepholes",
  inputs: [
    normal(4, 3, 5),
    normal(1, 8, 5),
    normal(1, 8, 2),
    normal(1, 16),
    undefined,
    normal(1, 3, 2),
    normal(1, 3, 2),
    normal(1, 6),
  ],
  attributes: { hidden_size: 2 },
  outputs: 3,
  cotangents: [0, 1, 2],
};

export const recurrentExamples = {
  LSTM: forms(4, [peepholes], true),
  GRU: forms(3, [gru(1)], false),
  RNN: forms(1, [], false),
} satisfies Record<string, Forms>;

// Examples of the pools over everything; those with windows stand beside their definitions.
import { draw, type Example } from "./example.ts";

const { normal } = draw(16);

export const poolingExamples: readonly Example[] = [
  { op: "GlobalAveragePool", inputs: [normal(2, 3, 4, 5)] },
  { op: "GlobalMaxPool", inputs: [normal(2, 3, 4, 5)] },
];

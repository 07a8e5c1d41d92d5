// Examples of choices at random.
import { draw, type Forms, int64Scalar } from "./example.ts";

const { normal } = draw(41);

export const randomExamples = {
  RandomChoice: [
    { name: "between two", inputs: [normal(2, 3, 4, 5), normal(2, 3, 4, 5), int64Scalar(2 ** 32 - 5)] },
    { name: "or 0", inputs: [normal(3, 70), undefined, int64Scalar(7)], attributes: { probability: 0.25 } },
    { name: "0 or", inputs: [undefined, normal(3, 70), int64Scalar(7)], attributes: { probability: 0.25 } },
  ],
} satisfies Record<string, Forms>;

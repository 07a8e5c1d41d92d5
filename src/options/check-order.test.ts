import { expect, test } from "vitest";
import { checkOrder } from "./check-order.ts";

const efqat = (qparamTraining: "direct" | "tqt") => ({ method: "efqat", qparamTraining }) as const;
const qat = (qparamTraining: "direct" | "tqt") => ({ method: "qat", qparamTraining }) as const;

test("training scales as powers of two cannot follow what leaves them otherwise", () => {
  expect(() => checkOrder([efqat("tqt"), qat("tqt"), efqat("direct"), qat("tqt")])).toThrow(
    /^qparamTraining of method 4, qat, is tqt, .+; efqat before it, by direct, leaves them otherwise\./,
  );
  for (const chain of [[efqat("tqt")], [efqat("tqt"), qat("tqt")], [efqat("tqt"), qat("direct")]])
    expect(() => checkOrder(chain)).not.toThrow();
});

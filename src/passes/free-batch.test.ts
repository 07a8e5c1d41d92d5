import { describe, expect, test } from "vitest";
import type { Builder } from "../ir/builder.ts";
import type { ValueType } from "../ir/graph.ts";
import { toNumbers, zeros } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { type FreedBatch, freeBatch } from "./free-batch.ts";

const image: ValueType = { dtype: "float32", shape: [1, 4, 6, 6] };

function free(
  body: (build: Builder, x: string) => string,
  type: ValueType = image,
): FreedBatch & { readonly output: string } {
  const build = buildOn();
  const output = body(build, build.input("x", type));
  return { ...freeBatch(build.graph([output])), output };
}

const shapeOf = ({ graph, output }: { readonly graph: FreedBatch["graph"]; readonly output: string }) =>
  graph.values.get(output)?.shape;

const convolve = (build: Builder, x: string): string =>
  build.node("Conv", [x, build.constant(zeros("float32", [8, 4, 3, 3]), "w")], { kernel_shape: [3, 3] });

describe("freed", () => {
  test("layers that treat each sample by itself", () => {
    const result = free((build, x) => build.node("Relu", [convolve(build, x)]));
    expect(result.reason).toBeUndefined();
    expect(result.freed).toBe(true);
    expect(shapeOf(result)).toEqual(["N", 8, 4, 4]);
  });
  test.each([[[1, 144]], [[1, -1]], [[-1, 144]], [[0, -1]]])("Reshape to %j", (shape) => {
    const result = free((build, x) => build.node("Reshape", [x, build.ints(shape)]));
    expect(result.reason).toBeUndefined();
    expect(shapeOf(result)).toEqual(["N", 144]);
  });
  test("the constant of a Reshape gets 0 where the batch was, and the old one goes if nobody else reads it", () => {
    const { graph } = free((build, x) => build.node("Reshape", [x, build.ints([1, 144])]));
    expect([...graph.constants.values()].map(toNumbers)).toEqual([[0, 144]]);
  });
  test.each([
    [
      [16, 1, 9],
      [1, 0, 2],
      [16, "N", 9],
    ],
    [
      [4, 4, 1, 9],
      [1, 0, 2],
      [4, 4, "N", 9],
    ],
    [
      [4, 4, 1, -1],
      [1, 0, 2],
      [4, 4, "N", 9],
    ],
    [
      [16, 1, 3, 3],
      [1, 0, 2],
      [16, "N", 3, 3],
    ],
    [
      [1, 16, 9],
      [0, 1, 2],
      ["N", 16, 9],
    ],
  ])("Reshape to %j of a batch along another axis", (target, perm, shape) => {
    const result = free(
      (build, x) => {
        const moved = build.node("Transpose", [x], { perm });
        const reshaped = build.node("Reshape", [moved, build.ints(target)]);
        return build.node("Relu", [reshaped]);
      },
      { dtype: "float32", shape: [1, 16, 9] },
    );
    expect(result.reason).toBeUndefined();
    expect(shapeOf(result)).toEqual(shape);
  });
  test("a batch larger than one", () => {
    const result = free((build, x) => build.node("Reshape", [x, build.ints([5, 2, -1])]), {
      dtype: "float32",
      shape: [5, 8],
    });
    expect(shapeOf(result)).toEqual(["N", 2, 4]);
  });
  test("a Transpose that moves the batch and one that moves it back", () => {
    const result = free((build, x) => {
      const moved = build.node("Transpose", [x], { perm: [1, 0, 2, 3] });
      return build.node("Transpose", [build.node("Relu", [moved])], { perm: [1, 0, 2, 3] });
    });
    expect(shapeOf(result)).toEqual(["N", 4, 6, 6]);
  });
  test("Resize to sizes that double the image", () => {
    const result = free((build, x) =>
      build.node("Resize", [x, "", "", build.ints([1, 4, 12, 12])], {
        mode: "nearest",
        nearest_mode: "floor",
        coordinate_transformation_mode: "asymmetric",
      }),
    );
    expect(result.reason).toBeUndefined();
    expect(shapeOf(result)).toEqual(["N", 4, 12, 12]);
  });
  test("under another name if a size is called N already", () => {
    const result = free((build, x) => build.node("Relu", [x]), { dtype: "float32", shape: [1, "N"] });
    expect(shapeOf(result)).toEqual(["N_1", "N"]);
  });
});

describe("not freed, with the reason", () => {
  const refuse = (reason: RegExp, body: (build: Builder, x: string) => string, type?: ValueType): void => {
    const result = free(body, type);
    expect(result.freed).toBe(false);
    expect(result.reason).toMatch(reason);
  };
  test("a batch that is free already", () =>
    refuse(/free leading size "B" already/, (build, x) => build.node("Relu", [x]), {
      dtype: "float32",
      shape: ["B", 2],
    }));
  test("a mean over the batch", () =>
    refuse(/ReduceMean .* does not keep the batch/, (build, x) =>
      build.node("ReduceMean", [x, build.ints([0])], { keepdims: 0 }),
    ));
  test("a mean over everything", () =>
    refuse(/ReduceMean .* does not keep the batch/, (build, x) => build.node("ReduceMean", [x], { keepdims: 1 })));
  test("Softmax over the batch", () =>
    refuse(/Softmax .* mixes the samples/, (build, x) => build.node("Softmax", [x], { axis: 0 })));
  test("a triangle whose rows are samples", () =>
    refuse(/Trilu.*mixes the samples/, (build, x) =>
      build.node("Trilu", [build.node("Reshape", [x, build.ints([0, -1])], {}, "rows")]),
    ));
  test("a Gather along the batch, and one from a sample that became a table", () => {
    refuse(/Gather .* (mixes|does not keep)/, (build, x) => build.node("Gather", [x, build.ints([0])], { axis: 0 }));
    refuse(/Gather .* (mixes|does not keep)/, (build, x) =>
      build.node("Gather", [
        x,
        build.node("Cast", [build.node("ReduceMax", [x, build.ints([1, 2, 3])], { keepdims: 0 })], { to: "int64" }),
      ]),
    );
  });
  test("a sample that is the bound of a Clip", () =>
    expect(
      freeBatch(
        (() => {
          const build = buildOn();
          const x = build.input("x", { dtype: "float32", shape: [1] });
          return build.graph([build.node("Clip", [x, x])]);
        })(),
      ).reason,
    ).toMatch(/Clip .* takes one number for the whole batch: its input "x"/));
  test("an Einsum that sums over the samples of one operand and keeps those of another", () =>
    refuse(/Einsum .* mixes/, (build, x) => {
      const rows = build.node("Reshape", [x, build.ints([0, -1])]);
      return build.node("Einsum", [rows, rows], { equation: "ij,kj->kj" });
    }));
  test("a Slice that turns the batch around", () =>
    refuse(/Slice .* mixes/, (build, x) => {
      const [starts, ends, axes, steps] = [[-1], [-(2 ** 31)], [0], [-1]].map((each) => build.ints(each));
      return build.node("Slice", [x, starts, ends, axes, steps]);
    }));
  test("a Squeeze of whatever is 1, which a batch of one would be", () =>
    refuse(/Squeeze .* mixes/, (build, x) => build.node("Squeeze", [x])));
  test("a Reshape that deals samples out", () =>
    refuse(/Reshape .* mixes/, (build, x) => build.node("Reshape", [x, build.ints([2, -1])]), {
      dtype: "float32",
      shape: [3, 2],
    }));
  test("a sum of samples by rows and by columns", () =>
    refuse(
      /Add .* mixes/,
      (build, x) => {
        const first = build.node("Squeeze", [build.node("ReduceSum", [x, build.ints([1])]), build.ints([1])]);
        return build.node("Add", [x, first]);
      },
      { dtype: "float32", shape: [1, 3] },
    ));
  test("a product with the size of the batch", () =>
    refuse(/computes with the size of the batch/, (build, x) => {
      const count = build.node("Gather", [build.node("Shape", [x]), build.constant(zeros("int64", []))]);
      const rows = build.node("Cast", [build.node("Flatten", [x])], { to: "int64" });
      return build.node("Mul", [rows, count]);
    }));
  test("positions along the batch", () =>
    refuse(/Range .* (mixes|computes)/, (build, x) => {
      const count = build.node("Gather", [build.node("Shape", [x]), build.constant(zeros("int64", []))]);
      const [from, step] = [0, 1].map((value) =>
        build.constant({ dtype: "int64", shape: [], data: BigInt64Array.of(BigInt(value)) }),
      );
      const places = build.node("Cast", [build.node("Range", [from, count, step])], { to: "float32" });
      return build.node("Add", [build.node("Flatten", [x]), build.node("Unsqueeze", [places, build.ints([1])])]);
    }));
  test("Squeeze of the batch", () => refuse(/Squeeze/, (build, x) => build.node("Squeeze", [x, build.ints([0])])));
  test("Reshape that merges the batch into other sizes", () =>
    refuse(/Reshape/, (build, x) => build.node("Reshape", [x, build.ints([4, 36])])));
  test("all pairs of samples", () =>
    refuse(/does not keep the batch/, (build, x) => {
      const rows = build.node("Reshape", [x, build.ints([1, 144])]);
      return build.node("MatMul", [rows, build.node("Transpose", [rows], { perm: [1, 0] })]);
    }));
  test("Concat along the batch", () => refuse(/Concat/, (build, x) => build.node("Concat", [x, x], { axis: 0 })));
  test("an output that is the same for all samples", () =>
    refuse(/does not depend on the batch|does not keep/, (build) =>
      build.node("Relu", [build.constant(zeros("float32", [1, 3]))]),
    ));
});

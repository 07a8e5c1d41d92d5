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

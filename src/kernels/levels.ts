// Levels that are not evenly spaced: the nearest of them, and what indices of them stand for.
import { assert } from "../ir/errors.ts";
import type { Node } from "../ir/graph.ts";
import { nearestLevel } from "../ir/nearest-level.ts";
import { sizeOf, type Tensor, toNumbers } from "../ir/tensor.ts";
import { forEachRun, granularityOf, scaleLayout } from "../ops/granularity.ts";
import { float64Of, fromFloat64, rounding } from "./float64.ts";
import type { Kernel } from "./kernel.ts";

/** y = f(element, its scale) */
function scaled(x: Tensor, scale: Tensor, node: Node, f: (place: number, scale: number) => number): Float64Array {
  const scales = float64Of(scale, node);
  const y = new Float64Array(sizeOf(x.shape));
  forEachRun(scaleLayout(x.shape, granularityOf(node, x.shape.length), scale.shape), (start, end, index) => {
    for (let i = start; i < end; i++) y[i] = f(i, scales[index]);
  });
  return y;
}

const LevelQuantize: Kernel = ([x, scale, levels], node) => {
  assert(x && scale && levels, "LevelQuantize lacks inputs");
  const round = rounding(x.dtype);
  const [data, all] = [float64Of(x, node), float64Of(levels, node)];
  const y = scaled(x, scale, node, (i, step) => all[nearestLevel(all, round(data[i] / step))] * step);
  return [fromFloat64(x.dtype, x.shape, y, node)];
};

const LevelDequantize: Kernel = ([indices, scale, levels], node) => {
  assert(indices && scale && levels, "LevelDequantize lacks inputs");
  const [places, all] = [toNumbers(indices), float64Of(levels, node)];
  const y = scaled(indices, scale, node, (i, step) => all[places[i]] * step);
  return [fromFloat64(levels.dtype, indices.shape, y, node)];
};

export const levelKernels = { LevelQuantize, LevelDequantize } satisfies Record<string, Kernel>;

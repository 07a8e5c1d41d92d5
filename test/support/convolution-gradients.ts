// A convolution and its gradients as plain loops in float64, and steps of the addon that compute them.
import { loadAddon } from "../../src/engines/native/addon.ts";
import type { TypedArray } from "../../src/ir/dtype.ts";

export interface ConvolutionCase {
  readonly images: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly in: readonly [number, number];
  readonly kernel: readonly [number, number];
  readonly strides?: readonly [number, number];
  readonly dilations?: readonly [number, number];
  /** Top, left, bottom, right. */
  readonly pads?: readonly [number, number, number, number];
  readonly rows?: readonly number[];
  readonly zero?: number;
  readonly threads?: number;
}

const pair = (value: readonly [number, number] | undefined): readonly [number, number] => value ?? [1, 1];

export function outputSize(each: ConvolutionCase): [number, number] {
  const [strides, dilations, pads] = [pair(each.strides), pair(each.dilations), each.pads ?? [0, 0, 0, 0]];
  const size = (axis: 0 | 1) => {
    const free = each.in[axis] + pads[axis] + pads[axis + 2] - (each.kernel[axis] - 1) * dilations[axis] - 1;
    return Math.floor(free / strides[axis]) + 1;
  };
  return [size(0), size(1)];
}

/** Σ dy[p][row] · x[p · stride + k · dilation − pad][ci], as [row][ci][kh][kw]. */
export function plainWeightGradient(
  each: ConvolutionCase,
  x: ArrayLike<number>,
  dy: ArrayLike<number>,
  rows: readonly number[],
): Float64Array {
  const { images, inputs, outputs, kernel } = each;
  const [strides, dilations, pads, out] = [
    pair(each.strides),
    pair(each.dilations),
    each.pads ?? [0, 0],
    outputSize(each),
  ];
  const dw = new Float64Array(rows.length * inputs * kernel[0] * kernel[1]);
  const add = (at: number, row: number, ci: number, kh: number, kw: number) => {
    for (let image = 0; image < images; image++)
      for (let h = 0; h < out[0]; h++)
        for (let w = 0; w < out[1]; w++) {
          const [y, z] = [h * strides[0] + kh * dilations[0] - pads[0], w * strides[1] + kw * dilations[1] - pads[1]];
          if (y < 0 || y >= each.in[0] || z < 0 || z >= each.in[1]) continue;
          const pixel = (image * out[0] + h) * out[1] + w;
          dw[at] += dy[pixel * outputs + row] * x[((image * each.in[0] + y) * each.in[1] + z) * inputs + ci];
        }
  };
  let at = 0;
  for (const row of rows)
    for (let ci = 0; ci < inputs; ci++)
      for (let kh = 0; kh < kernel[0]; kh++)
        for (let kw = 0; kw < kernel[1]; kw++) add(at++, (row + outputs) % outputs, ci, kh, kw);
  return dw;
}

/** bias[co] + Σ x[p · stride + k · dilation − pad][ci] · w[co][ci][kh][kw], as [image][height][width][co]. */
export function plainConvolution(
  each: ConvolutionCase,
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  bias: ArrayLike<number> | undefined,
): Float64Array {
  const { images, outputs } = each;
  const [height, width] = outputSize(each);
  const y = Float64Array.from({ length: images * height * width * outputs }, (_, i) => bias?.[i % outputs] ?? 0);
  forEachProduct(each, (ofY, ofX, ofW) => {
    y[ofY] += x[ofX] * w[ofW];
  });
  return y;
}

/** Σ dy[(p + pad − k · dilation) / stride][co] · w[co][ci][kh][kw], as [image][height][width][ci]. */
export function plainInputGradient(each: ConvolutionCase, dy: ArrayLike<number>, w: ArrayLike<number>): Float64Array {
  const dx = new Float64Array(each.images * each.in[0] * each.in[1] * each.inputs);
  forEachProduct(each, (ofY, ofX, ofW) => {
    dx[ofX] += dy[ofY] * w[ofW];
  });
  return dx;
}

/** The positions of the operands of a convolution's products: of y, x and w. */
function forEachProduct(each: ConvolutionCase, visit: (ofY: number, ofX: number, ofW: number) => void): void {
  const { images, inputs, outputs, kernel } = each;
  const [strides, dilations, pads] = [pair(each.strides), pair(each.dilations), each.pads ?? [0, 0]];
  const out = outputSize(each);
  const spread = (pixel: number, at: number, tap: number) => {
    for (let co = 0; co < outputs; co++)
      for (let ci = 0; ci < inputs; ci++)
        visit(pixel * outputs + co, at * inputs + ci, (co * inputs + ci) * kernel[0] * kernel[1] + tap);
  };
  for (let pixel = 0; pixel < images * out[0] * out[1]; pixel++)
    for (let tap = 0; tap < kernel[0] * kernel[1]; tap++) {
      const [image, h, column] = [
        Math.floor(pixel / out[1] / out[0]),
        Math.floor(pixel / out[1]) % out[0],
        pixel % out[1],
      ];
      const y = h * strides[0] + Math.floor(tap / kernel[1]) * dilations[0] - pads[0];
      const z = column * strides[1] + (tap % kernel[1]) * dilations[1] - pads[1];
      if (y >= 0 && y < each.in[0] && z >= 0 && z < each.in[1])
        spread(pixel, (image * each.in[0] + y) * each.in[1] + z, tap);
    }
}

const list = (...values: readonly number[]): readonly number[] => [values.length, ...values];

export function geometry(each: ConvolutionCase): readonly number[] {
  const [top, left, bottom, right] = each.pads ?? [0, 0, 0, 0];
  return [
    ...[each.images, 1, each.inputs, each.outputs, ...list(...each.in), ...list(...outputSize(each))],
    ...[...list(...each.kernel), ...list(...pair(each.strides)), ...list(...pair(each.dilations))],
    ...[...list(top, left), ...list(bottom, right)],
  ];
}

/** Runs one step twice over its own operands, the last of which it writes; `count` is the number of rows. */
export async function runGradientStep(
  { kernel, ints, threads }: { readonly kernel: string; readonly ints: readonly number[]; readonly threads: number },
  operands: readonly (TypedArray | undefined)[],
  count = 0,
): Promise<void> {
  const addon = loadAddon();
  const memories = operands.map((data) => new addon.Memory(data?.byteLength ?? 0));
  operands.forEach((data, i) => {
    if (data) memories[i].write(0, data);
  });
  const places = operands.flatMap((data, i) => (data ? [i, 0, data.byteLength] : [-1, 0, 0]));
  const step = {
    kernel,
    places: Float64Array.from(places),
    ints: Float64Array.from(ints),
    floats: new Float64Array(0),
  };
  const program = new addon.Program(threads, memories, [step], 0);
  const last = operands.length - 1;
  const result = operands[last];
  if (!result) throw new Error("the last operand is what the step writes");
  for (let run = 0; run < 2; run++) await program.run(Float64Array.of(count), [memories[last], 0, result]);
}

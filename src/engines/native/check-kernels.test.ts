// Our own kernels checked on this processor, and what follows where one of them is wrong.
import { expect, test } from "vitest";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { loadAddon, type NativeAddon, type NativeStep } from "./addon.ts";
import { checkKernels, faultyKernels } from "./check-kernels.ts";
import { geometryOf } from "./convolution-geometry.ts";
import { convolutionKernel } from "./convolution-kernels.ts";
import { createNumerics } from "./numerics.ts";

/** The addon, but for one kernel whose sums lack an image. */
function withFault(addon: NativeAddon, faulty: string): NativeAddon {
  const Program: NativeAddon["Program"] = class {
    constructor(...[threads, memories, steps, firstCommit]: ConstructorParameters<NativeAddon["Program"]>) {
      const short = ({ ints, ...step }: NativeStep): NativeStep => ({ ...step, ints: ints.with(0, ints[0] - 1) });
      const made = steps.map((step) => (step.kernel === faulty ? short(step) : step));
      // biome-ignore lint/correctness/noConstructorReturn: it stands for the addon's own program.
      return new addon.Program(threads, memories, made, firstCommit);
    }
  } as NativeAddon["Program"];
  return { ...addon, Memory: addon.Memory, information: addon.information, Program };
}

test.skipIf(!isNativeBuilt)(
  `all kernels give what plain loops do${isNativeBuilt ? "" : ` (${notBuilt})`}`,
  async () => {
    expect(await faultyKernels()).toEqual(new Set());
  },
);

test.skipIf(!isNativeBuilt)("a kernel that gives something else is named, and no other", async ({ skip }) => {
  const addon = loadAddon();
  const { hasWinograd, hasBfloat16 } = addon.information();
  if (!hasWinograd) skip("the processor has no AVX-512, and so none of our own kernels");
  const types = hasBfloat16 ? ["", ":bfloat16"] : [""];
  const names = [
    "convolutionWinograd",
    ...(hasBfloat16 ? ["weightGradient:bfloat16", "convolutionInputGradient:dynamic"] : []),
    ...types.flatMap((type) => [`convolutionInputGradientWinograd${type}`, `weightGradientWinograd${type}`]),
  ];
  for (const name of names) expect(await checkKernels(withFault(addon, name))).toEqual(new Set([name]));
});

test.skipIf(!isNativeBuilt)("a faulty kernel is neither chosen by rule nor measured", ({ skip }) => {
  if (!loadAddon().information().hasWinograd) skip("the processor has no AVX-512, and so none of our own kernels");
  const node = { name: "", op: "Conv", inputs: [], outputs: [], attributes: {} };
  const ones = [1, 1];
  const window = { kernel: [3, 3], strides: ones, dilations: ones, pads: [1, 1, 1, 1] };
  const geometry = geometryOf(node, window, [64, 16, 16, 16], [64, 16, 16, 16]);
  const asked: string[][] = [];
  const kernelWithout = (...faulty: readonly string[]): string => {
    const numerics = createNumerics(loadAddon(), "float32", 1, {
      choose: ({ preferred, candidates }) => {
        asked.push(candidates.map(({ kernel }) => kernel));
        return preferred;
      },
      faulty: new Set(faulty),
    });
    return convolutionKernel(numerics, node, { direction: "forward", geometry, mayNarrow: false });
  };
  expect(kernelWithout()).toBe("convolutionWinograd");
  expect(kernelWithout("convolutionWinograd")).toBe("convolution");
  expect(asked).toEqual([["convolutionWinograd", "convolution"]]);
});

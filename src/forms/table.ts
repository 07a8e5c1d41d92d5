// The forms that a model can be written in without data, named as transformers.js names them.
import type { MatrixType } from "./dynamic-int8.ts";

/** What becomes of weights. */
export type FormWeights =
  | { readonly kind: "float" }
  /** Integers, multiplied by integers whose ranges are found at each run. */
  | { readonly kind: "dynamic"; readonly matrices: MatrixType }
  /** Integers, multiplied by floats, which those of 8 bits may round. */
  | { readonly kind: "packed"; readonly bits: 2 | 4 | 8 };

export interface Form {
  /** What the file's name ends in, before `.onnx`. */
  readonly suffix: string;
  readonly weights: FormWeights;
  /** Whether the rest is float16. */
  readonly isHalf: boolean;
  readonly summary: string;
  /** The same where it is found with data; absent where data change nothing. */
  readonly learned?: string;
  /** Whether transformers.js has it as a dtype. */
  readonly isDtype: boolean;
}

const float = { kind: "float" } as const;
const packed = (bits: 2 | 4 | 8) => ({ kind: "packed", bits }) as const;

/** The name of a form. All but w8 are dtypes of transformers.js. */
export type FormName = "fp16" | "q8" | "uint8" | "w8" | "q4" | "q4f16" | "q2" | "q2f16";

export const forms: Readonly<Record<FormName, Form>> = {
  fp16: { suffix: "_fp16", weights: float, isHalf: true, summary: "all in float16", isDtype: true },
  q8: {
    suffix: "_quantized",
    weights: { kind: "dynamic", matrices: "int8" },
    isHalf: false,
    summary: "8-bit products, the ranges of activations found at each run",
    learned: "8-bit products, the ranges of activations found on the text",
    isDtype: true,
  },
  uint8: {
    suffix: "_uint8",
    weights: { kind: "dynamic", matrices: "uint8" },
    isHalf: false,
    summary: "the same with unsigned weights, which saturate on no processor",
    isDtype: true,
  },
  w8: {
    suffix: "_w8",
    weights: packed(8),
    isHalf: false,
    summary: "8-bit weights in blocks, multiplied by what is rounded to 8 bits in blocks at each run",
    isDtype: false,
  },
  q4: {
    suffix: "_q4",
    weights: packed(4),
    isHalf: false,
    summary: "4-bit weights in blocks, multiplied in float",
    learned: "4-bit weights in blocks, rounded for the text, multiplied in float",
    isDtype: true,
  },
  q4f16: {
    suffix: "_q4f16",
    weights: packed(4),
    isHalf: true,
    summary: "4-bit weights in blocks, the rest in float16",
    learned: "4-bit weights in blocks, rounded for the text, the rest in float16",
    isDtype: true,
  },
  q2: {
    suffix: "_q2",
    weights: packed(2),
    isHalf: false,
    summary: "2-bit weights in blocks, multiplied in float",
    isDtype: true,
  },
  q2f16: {
    suffix: "_q2f16",
    weights: packed(2),
    isHalf: true,
    summary: "2-bit weights in blocks, the rest in float16",
    isDtype: true,
  },
};

export const formNames = Object.keys(forms) as [FormName, ...FormName[]];

/** What transformers.js knows best. */
export const defaultForms: readonly FormName[] = ["fp16", "q8", "q4", "q4f16"];

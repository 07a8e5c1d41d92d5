import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createRandom } from "../../../test/support/random.ts";
import { readSafetensors } from "../../data/safetensors.ts";
import { narrowTensor, widenTensor } from "../../ir/half.ts";
import { numbersOf, type Tensor, tensor, tensorOf } from "../../ir/tensor.ts";
import { bytesSource } from "../../ir/tensor-source.ts";
import { readJson } from "../../language-models/checkpoint.ts";
import { parseConfig } from "../../language-models/config.ts";
import { readLanguageModel } from "../../language-models/read.ts";
import { modelFolder } from "../../node/read-model.ts";
import { foldQuantizers } from "../../quantizers/fold.ts";
import { withHalfScales } from "../../quantizers/half-scales.ts";
import { insertQuantizers } from "../../quantizers/insert.ts";
import { weightQparams } from "../../quantizers/observe-weights.ts";
import { type QuantizeOptions, quantizeOptions } from "../../quantizers/quantize-options.ts";
import { findSites } from "../../quantizers/sites.ts";
import { type DecoderWeights, decoderWeights, type IntegerLayer } from "./decoder-weights.ts";
import { blocksOf, blockTypeOf } from "./gguf-blocks.ts";
import { bool, float32, uint32, writeGguf } from "./gguf-file.ts";
import { writeCheckpoint } from "./table.ts";
import { packWords } from "./words.ts";

/** By the gguf package and by compressed-tensors: `formats.py` writes them. */
const oracle: {
  readonly blocks: Readonly<
    Record<"q4_0" | "q4_1" | "q8_0", { readonly bytes: string; readonly values: readonly number[] }>
  >;
  readonly container: string;
  readonly words: readonly {
    readonly bits: number;
    readonly integers: readonly number[];
    readonly words: readonly number[];
  }[];
} = JSON.parse(readFileSync(join(import.meta.dirname, "../../../test/oracles/formats.json"), "utf8"));

const half = (bits: number): number => numbersOf(widenTensor(tensor("float16", [1], Uint16Array.of(bits))))[0];

/** ggml's blocks by their definition. */
const decoders: Readonly<
  Record<
    string,
    { readonly size: number; readonly sizeBytes: number; readonly at: (block: DataView, i: number) => number }
  >
> = {
  q4_0: { size: 32, sizeBytes: 18, at: (b, i) => half(b.getUint16(0, true)) * (nibble(b, 2, i) - 8) },
  q4_1: {
    size: 32,
    sizeBytes: 20,
    at: (b, i) => half(b.getUint16(0, true)) * nibble(b, 4, i) + half(b.getUint16(2, true)),
  },
  q8_0: { size: 32, sizeBytes: 34, at: (b, i) => half(b.getUint16(0, true)) * b.getInt8(2 + i) },
  q2_0: {
    size: 64,
    sizeBytes: 18,
    at: (b, i) => half(b.getUint16(0, true)) * (((b.getUint8(2 + (i >> 2)) >> (2 * (i & 3))) & 3) - 1),
  },
};
const nibble = (block: DataView, start: number, i: number): number =>
  i < 16 ? block.getUint8(start + i) & 15 : block.getUint8(start + i - 16) >> 4;

function decoded(type: string, bytes: Uint8Array): readonly number[] {
  const { size, sizeBytes, at } = decoders[type];
  return Array.from({ length: bytes.length / sizeBytes }, (_, block) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset + block * sizeBytes, sizeBytes);
    return Array.from({ length: size }, (_, i) => at(view, i));
  }).flat();
}

const fromHex = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, "hex"));

test.each(["q4_0", "q4_1", "q8_0"] as const)("blocks of %s as gguf-py reads them", (type) => {
  const { bytes, values } = oracle.blocks[type];
  decoded(type, fromHex(bytes)).forEach((value, i) => {
    expect(value).toBeCloseTo(values[i], 6);
  });
});

test("a GGUF file is byte for byte what gguf-py writes", () => {
  const floats = Float32Array.from([0, 1, 2, 3, 4]);
  const matrix = narrowTensor(tensorOf("float32", [2, 3], [0, 1, 2, 3, 4, 5]), "float16");
  const bytesOf = ({ buffer }: { readonly buffer: ArrayBufferLike }): Uint8Array => new Uint8Array(buffer);
  const written = writeGguf(
    {
      "general.architecture": { type: "string", value: "llama" },
      "llama.block_count": uint32(2),
      "llama.rope.freq_base": float32(10_000),
      "tokenizer.ggml.add_bos_token": bool(true),
      "tokenizer.ggml.tokens": { type: "array", of: "string", value: ["<unk>", "▁a", "b"] },
      "tokenizer.ggml.scores": { type: "array", of: "float32", value: [0, -1, -2.5] },
      "tokenizer.ggml.token_type": { type: "array", of: "int32", value: [2, 1, 1] },
    },
    [
      { name: "output_norm.weight", shape: [5], type: "f32", bytes: bytesOf(floats) },
      { name: "token_embd.weight", shape: [2, 3], type: "f16", bytes: bytesOf(matrix.data) },
    ],
  );
  expect(Buffer.from(written).toString("hex")).toBe(oracle.container);
});

test("words hold integers as compressed-tensors packs them", () => {
  for (const { bits, integers, words } of oracle.words)
    expect([...packWords(Uint8Array.from(integers), 37, bits).data]).toEqual(words);
});

const random = createRandom(11);

function drawnLayer(bits: number, isSymmetric: boolean, groupSize: number, inputs: number): IntegerLayer {
  const [outputs, groups] = [3, Math.ceil(inputs / groupSize)];
  const below = (count: number, end: number): Uint8Array =>
    Uint8Array.from({ length: count }, () => Math.floor(random.uniform(0, end)));
  const scales = random.uniformTensor("float32", [outputs, groups], 0.01, 0.1);
  const low = isSymmetric ? 1 : 0;
  return {
    name: "model.layers.0.mlp.down_proj",
    inputs,
    outputs,
    bits,
    groupSize,
    isSymmetric,
    isUniform: true,
    groups,
    integers: below(outputs * inputs, 2 ** bits - low).map((q) => q + low),
    zeroPoints: isSymmetric
      ? new Uint8Array(outputs * groups).fill(2 ** (bits - 1))
      : below(outputs * groups, 2 ** bits),
    scales: Float32Array.from(numbersOf(widenTensor(narrowTensor(scales, "float16")))),
  };
}

/** (q − z) · scale of an element. */
function weightAt(
  { integers, zeroPoints, scales, inputs, groups, groupSize }: IntegerLayer,
  row: number,
  i: number,
): number {
  const group = row * groups + (groupSize === "whole" ? 0 : Math.floor(i / groupSize));
  return (integers[row * inputs + i] - zeroPoints[group]) * scales[group];
}

test.each([
  [2, true, 64, "q2_0"],
  [2, true, 32, "q4_0"],
  [2, false, 64, "q4_1"],
  [3, true, 128, "q4_0"],
  [4, true, 32, "q4_0"],
  [4, false, 64, "q4_1"],
  [8, true, 32, "q8_0"],
  [5, true, 64, "q8_0"],
] as const)("%i bits, symmetric %s, in groups of %i: %s holds the grid", (bits, isSymmetric, groupSize, type) => {
  const layer = drawnLayer(bits, isSymmetric, groupSize, 172);
  expect(blockTypeOf(layer)).toBe(type);
  const values = decoded(type, blocksOf(layer, type, { rows: [2, undefined, 0], inputs: 192 }));
  [2, undefined, 0].forEach((row, place) => {
    for (let i = 0; i < 192; i++) {
      const expected = row === undefined || i >= 172 ? 0 : weightAt(layer, row, i);
      // What q4_1 adds is rounded to float16.
      const allowed = type === "q4_1" ? 2 ** -11 * 16 * 0.1 : 1e-7;
      expect(Math.abs(values[place * 192 + i] - expected)).toBeLessThanOrEqual(allowed);
    }
  });
});

test("8 bits with zero points have no block", () => {
  expect(blockTypeOf(drawnLayer(8, false, 32, 64))).toBeUndefined();
});

const oracles = join(import.meta.dirname, "../../../test/oracles/decoders");

function weightsOf(family: string, given: Partial<QuantizeOptions>): DecoderWeights {
  const folder = modelFolder(join(oracles, family));
  const { graph } = readLanguageModel(folder, { name: family });
  const sites = findSites(graph, quantizeOptions.parse({ activations: "float", ...given }));
  const qparams = new Map(
    sites.weights.map((site) => [site.name, weightQparams(graph.constants.get(site.value)!, site, "min-max")]),
  );
  const quantized = withHalfScales(insertQuantizers(graph, sites, qparams));
  return decoderWeights(foldQuantizers(quantized, "float"), {
    config: parseConfig(readJson(folder, "config.json")),
    folder,
  });
}

/** Integers of `bits` from a word stream, by the place of their first bit. */
function unpacked(words: Tensor, row: number, i: number, bits: number): number {
  const [, width] = words.shape;
  const bit = BigInt(i * bits);
  const at = row * width + Number(bit >> 5n);
  const pair =
    BigInt.asUintN(32, BigInt(Number(words.data[at]))) |
    (BigInt.asUintN(32, BigInt(Number(words.data[at + 1] ?? 0))) << 32n);
  return Number((pair >> (bit & 31n)) & BigInt(2 ** bits - 1));
}

test.each(["llama", "gemma3", "phi3"])(
  "compressed-tensors of %s hold the layers' grids, and the floats of the checkpoint",
  (family) => {
    const weights = weightsOf(family, { weights: 3, groupSize: "whole" });
    const files = writeCheckpoint("compressed-tensors", weights);
    const bytes = (name: string) => files.find((file) => file.name === `compressed-tensors/${name}`)!.bytes;
    const { tensors } = readSafetensors(bytesSource(bytes("model.safetensors")), "model");
    for (const [name, layer] of weights.layers) {
      const [packed, scale, zero, shape] = ["packed", "scale", "zero_point", "shape"].map(
        (end) => tensors.get(`${name}.weight_${end}`)!,
      );
      expect([...shape.data].map(Number)).toEqual([layer.outputs, layer.inputs]);
      const scales = numbersOf(widenTensor(scale));
      for (let row = 0; row < layer.outputs; row++)
        for (let i = 0; i < layer.inputs; i++) {
          const point = unpacked({ ...zero, shape: [1, zero.shape[0]] }, 0, row, 3);
          const value = (unpacked(packed, row, i, 3) - point) * scales[row];
          expect(value).toBeCloseTo(weightAt(layer, row, i), 6);
        }
    }
    const given = modelFolder(join(oracles, family));
    if (given.holds("model.safetensors")) {
      const before = readSafetensors(given.open("model.safetensors"), "model").tensors;
      const norm = "model.layers.0.input_layernorm.weight";
      const [was, is] = [before, tensors].map((of) => numbersOf(widenTensor(of.get(norm)!)));
      is.forEach((value, i) => {
        expect(value).toBeCloseTo(was[i], 2);
      });
    }
    const config = JSON.parse(new TextDecoder().decode(bytes("config.json")));
    expect(config.quantization_config).toMatchObject({
      quant_method: "compressed-tensors",
      format: "pack-quantized",
      config_groups: {
        group_0: { targets: ["Linear"], weights: { num_bits: 3, strategy: "channel", symmetric: false } },
      },
    });
  },
);

/** A field of GPTQ's words: 2, 4 and 8 bits lie within one; of 3 bits, 32 fields fill three words, two of them across. */
function gptqField(words: readonly number[], i: number, bits: number): number {
  const field = (word: number, shift: number, width: number): number => (words[word] >>> shift) & (2 ** width - 1);
  if (bits !== 3) return field(Math.floor((i * bits) / 32), (i * bits) % 32, bits);
  const [start, place] = [3 * Math.floor(i / 32), i % 32];
  if (place < 10) return field(start, 3 * place, 3);
  if (place === 10) return field(start, 30, 2) | (field(start + 1, 0, 1) << 2);
  if (place < 21) return field(start + 1, 1 + 3 * (place - 11), 3);
  if (place === 21) return field(start + 1, 31, 1) | (field(start + 2, 0, 2) << 1);
  return field(start + 2, 2 + 3 * (place - 22), 3);
}

test.each([2, 3, 4, 8])("GPTQ holds %i bits with true zero points", (bits) => {
  const layer = { ...drawnLayer(bits, false, 32, 64), outputs: 32, groups: 2 };
  const below = (count: number): Uint8Array =>
    Uint8Array.from({ length: count }, () => Math.floor(random.uniform(0, 2 ** bits)));
  const full = {
    ...layer,
    integers: below(32 * 64),
    zeroPoints: below(64),
    scales: Float32Array.from({ length: 64 }, (_, i) => (i + 1) / 64),
  };
  const model = weightsOf("llama", { weights: 4 });
  const files = writeCheckpoint("gptq", {
    ...model,
    layers: new Map([[full.name, full]]),
    projections: [full.name],
    floatNames: [],
  });
  const bytes = (name: string) => files.find((file) => file.name === `gptq/${name}`)!.bytes;
  const { tensors } = readSafetensors(bytesSource(bytes("model.safetensors")), "model");
  const of = (end: string) => tensors.get(`${full.name}.${end}`)!;
  const [qweight, qzeros, scales] = [of("qweight"), of("qzeros"), numbersOf(widenTensor(of("scales")))];
  expect([qweight.shape, qzeros.shape, of("scales").shape]).toEqual([
    [2 * bits, 32],
    [2, bits],
    [2, 32],
  ]);
  const group = [...of("g_idx").data].map(Number);
  for (let row = 0; row < 32; row++) {
    const column = Array.from({ length: 2 * bits }, (_, word) => Number(qweight.data[word * 32 + row]));
    for (let i = 0; i < 64; i++) {
      const words = Array.from({ length: bits }, (_, word) => Number(qzeros.data[group[i] * bits + word]));
      const value = (gptqField(column, i, bits) - gptqField(words, row, bits)) * scales[group[i] * 32 + row];
      expect(value).toBeCloseTo(weightAt(full, row, i), 6);
    }
  }
  expect(JSON.parse(new TextDecoder().decode(bytes("quantize_config.json")))).toMatchObject({
    bits,
    group_size: 32,
    sym: false,
    checkpoint_format: "gptq_v2",
  });
});

test("what does not fit is refused with the group sizes that do", () => {
  const write = (format: "gguf" | "gptq" | "compressed-tensors", given: Partial<QuantizeOptions>) => () =>
    writeCheckpoint(format, weightsOf("llama", given));
  expect(write("gptq", { weights: 4, groupSize: 16 })).toThrow(
    /gptq does not hold 14 of 14 layers: "model\.layers\.0\.self_attn\.q_proj" \[16 → 32\]: 16 inputs are no multiple of 32; .* No group size fits all layers/,
  );
  expect(write("compressed-tensors", { weights: 4, groupSize: 16 })).toThrow(
    /\[20 → 16\]: 20 inputs are no whole groups of 16; .* Group sizes that fit all layers: whole\./s,
  );
  expect(() => writeCheckpoint("gguf", weightsOf("gemma2", { weights: 4 }))).toThrow("gemma2 is not written yet");
});

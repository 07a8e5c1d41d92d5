// The checkpoints of compressed-tensors, which vLLM reads: "pack-quantized".
import { narrowTensor } from "../../ir/half.ts";
import { tensor, tensorOf } from "../../ir/tensor.ts";
import { transposedMatrix } from "../../ir/transposed-matrix.ts";
import { type DecoderWeights, type IntegerLayer, inputsPerGroup } from "./decoder-weights.ts";
import type { CheckpointFormat } from "./format.ts";
import { safetensorsCheckpoint } from "./safetensors-checkpoint.ts";
import { packWords, transposedBytes } from "./words.ts";

export const compressedTensors: CheckpointFormat = {
  obstacleOf: (layer) =>
    layer.inputs % inputsPerGroup(layer) === 0
      ? undefined
      : `${layer.inputs} inputs are no whole groups of ${inputsPerGroup(layer)}`,
  needsAllLayersAlike: false,
  write: (weights) =>
    safetensorsCheckpoint(weights, {
      folder: "compressed-tensors",
      tensorsOf,
      quantization: quantizationOf(weights),
      others: [],
    }),
};

/** Its integers are signed and packed with 2^(bits − 1) added: what is packed are ours. */
function tensorsOf({ inputs, outputs, bits, isSymmetric, integers, zeroPoints, scales, groups }: IntegerLayer) {
  return {
    weight_packed: packWords(integers, inputs, bits),
    weight_scale: narrowTensor(tensor("float32", [outputs, groups], scales), "float16"),
    weight_shape: tensorOf("int64", [2], [outputs, inputs]),
    ...(!isSymmetric && {
      weight_zero_point: transposedMatrix(packWords(transposedBytes(zeroPoints, groups), outputs, bits)),
    }),
  };
}

/** Layers of the same form are one group. */
function quantizationOf({ layers, projections }: DecoderWeights): object {
  const forms = new Map<string, IntegerLayer[]>();
  for (const layer of layers.values()) {
    const key = `${layer.bits} ${layer.groupSize} ${layer.isSymmetric}`;
    forms.set(key, [...(forms.get(key) ?? []), layer]);
  }
  const groups = [...forms.values()].map((alike, i) => [
    `group_${i}`,
    {
      targets: forms.size === 1 ? ["Linear"] : alike.map(({ name }) => name),
      weights: schemeOf(alike[0]),
      input_activations: null,
      output_activations: null,
    },
  ]);
  return {
    quant_method: "compressed-tensors",
    format: "pack-quantized",
    quantization_status: "compressed",
    config_groups: Object.fromEntries(groups),
    ignore: ["lm_head", ...projections.filter((name) => !layers.has(name))],
  };
}

const schemeOf = ({ bits, groupSize, isSymmetric }: IntegerLayer): object => ({
  num_bits: bits,
  type: "int",
  symmetric: isSymmetric,
  ...(groupSize === "whole" ? { strategy: "channel" } : { strategy: "group", group_size: groupSize }),
  dynamic: false,
  actorder: null,
});

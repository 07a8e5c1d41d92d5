// GPTQ's checkpoints, version 2: zero points as they are.
import { narrowTensor } from "../../ir/half.ts";
import { tensor } from "../../ir/tensor.ts";
import { transposedMatrix } from "../../ir/transposed-matrix.ts";
import { type DecoderWeights, type IntegerLayer, inputsPerGroup } from "./decoder-weights.ts";
import type { CheckpointFormat } from "./format.ts";
import { jsonFile, safetensorsCheckpoint } from "./safetensors-checkpoint.ts";
import { packWords, transposedBytes } from "./words.ts";

/** Its kernels unpack whole words along both axes. */
const perWord = 32;

export const gptq: CheckpointFormat = {
  obstacleOf: (layer) => {
    const { inputs, outputs, bits } = layer;
    if (![2, 3, 4, 8].includes(bits)) return `${bits} bits; it has 2, 3, 4 and 8`;
    if (inputs % inputsPerGroup(layer) !== 0) return `${inputs} inputs are no whole groups of ${inputsPerGroup(layer)}`;
    if (inputs % perWord !== 0) return `${inputs} inputs are no multiple of ${perWord}`;
    return outputs % perWord === 0 ? undefined : `${outputs} outputs are no multiple of ${perWord}`;
  },
  needsAllLayersAlike: true,
  write: (weights) => {
    const quantization = quantizationOf(weights);
    return safetensorsCheckpoint(weights, {
      folder: "gptq",
      tensorsOf,
      quantization,
      others: [jsonFile("quantize_config.json", quantization)],
    });
  },
};

function tensorsOf(layer: IntegerLayer) {
  const { inputs, outputs, bits, integers, zeroPoints, scales, groups } = layer;
  const byGroup = transposedMatrix(tensor("float32", [outputs, groups], scales));
  return {
    qweight: transposedMatrix(packWords(integers, inputs, bits)),
    qzeros: packWords(transposedBytes(zeroPoints, groups), outputs, bits),
    scales: narrowTensor(byGroup, "float16"),
    g_idx: tensor(
      "int32",
      [inputs],
      Int32Array.from({ length: inputs }, (_, i) => Math.floor(i / inputsPerGroup(layer))),
    ),
  };
}

function quantizationOf({ layers }: DecoderWeights): object {
  const [{ bits, groupSize, isSymmetric }] = layers.values();
  return {
    quant_method: "gptq",
    checkpoint_format: "gptq_v2",
    bits,
    group_size: groupSize === "whole" ? -1 : groupSize,
    sym: isSymmetric,
    desc_act: false,
    lm_head: false,
    pack_dtype: "int32",
    true_sequential: false,
    damp_percent: 0.01,
    meta: { quantizer: "frostbit" },
  };
}

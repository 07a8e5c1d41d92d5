// What a folded decoder consists of, as checkpoints have it: integers row by row, in the order of the rows' inputs.
import { assert } from "../../ir/errors.ts";
import type { Graph, Node } from "../../ir/graph.ts";
import { numbersOf, type Tensor } from "../../ir/tensor.ts";
import { transposedMatrix } from "../../ir/transposed-matrix.ts";
import { type ModelFolder, openCheckpoint } from "../../language-models/checkpoint.ts";
import type { DecoderConfig } from "../../language-models/config.ts";
import { traitsOf } from "../../language-models/families.ts";
import { granularityOf, isGrouped } from "../../ops/granularity.ts";
import type { Folded, FoldedLayer } from "../../quantizers/fold.ts";

/** What of a layer decides whether a format holds it. */
export interface LayerForm {
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
  readonly bits: number;
  /** Inputs that share a scale; all of a row's where "whole". */
  readonly groupSize: number | "whole";
  readonly isSymmetric: boolean;
  /** Whether weights are evenly spaced, not values of a table. */
  readonly isUniform: boolean;
}

/** w = (q − z) · scale, of [outputs, inputs]; z and scale of [outputs, groups]. Integers are unsigned. */
export interface IntegerLayer extends LayerForm {
  readonly integers: Uint8Array;
  readonly zeroPoints: Uint8Array;
  readonly scales: Float32Array;
  readonly groups: number;
}

/** A decoder that formats write: its layers, and the floats of everything else. */
export interface DecoderWeights {
  readonly config: DecoderConfig;
  readonly folder: ModelFolder;
  /** By name, those of integers. */
  readonly layers: ReadonlyMap<string, IntegerLayer>;
  /** The names of all projections, of integers or not. */
  readonly projections: readonly string[];
  /** What the checkpoint has in float still. */
  readonly floatNames: readonly string[];
  /** A vector or a matrix as the graph has it: matrices of projections are [inputs, outputs]. */
  readonly floats: (name: string) => Tensor;
}

/** A language model as it came. */
export type DecoderModel = Pick<DecoderWeights, "config" | "folder">;

export function decoderWeights({ graph, layers }: Folded, { config, folder }: DecoderModel): DecoderWeights {
  const checkpoint = openCheckpoint(folder, "float32");
  return {
    config,
    folder,
    layers: new Map(layers.map((layer) => [layer.name, integerLayer(graph, layer)])),
    projections: projectionNames(config),
    floatNames: [...graph.constants.keys()].filter(checkpoint.has),
    floats: (name) => constantOf(graph, name),
  };
}

/** Of all projections of a decoder. */
export function projectionNames({ layers, family }: DecoderConfig): readonly string[] {
  const parts = traitsOf(family).isFused
    ? ["self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"]
    : [..."qkvo"]
        .map((which) => `self_attn.${which}_proj`)
        .concat(["gate", "up", "down"].map((part) => `mlp.${part}_proj`));
  return layers.flatMap((_, i) => parts.map((part) => `model.layers.${i}.${part}`));
}

function constantOf({ constants }: Graph, name: string): Tensor {
  const found = constants.get(name);
  assert(found, `the folded decoder has no constant "${name}"`);
  return found;
}

function integerLayer(graph: Graph, { name, bits, integers, zeroPoint }: FoldedLayer): IntegerLayer {
  const reader = graph.nodes.find(({ op, inputs }) => op === "DequantizeLinear" && inputs[0] === integers);
  assert(reader, `"${integers}" is read by no DequantizeLinear`);
  const codes = constantOf(graph, integers);
  const [inputs, outputs] = codes.shape;
  const scale = constantOf(graph, reader.inputs[1]);
  const groups = scale.shape.length === 2 ? scale.shape[0] : 1;
  const byRow = (value: Tensor): Tensor => transposedMatrix({ ...value, shape: [groups, outputs] });
  // Around 0, the middle of what the bits hold stands for it.
  const offset = zeroPoint === "" ? 2 ** (bits - 1) : 0;
  const unsigned = (value: Tensor): Uint8Array => Uint8Array.from(numbersOf(value), (q) => q + offset);
  return {
    name,
    inputs,
    outputs,
    bits,
    groupSize: groupSizeOf(reader),
    isSymmetric: zeroPoint === "",
    isUniform: true,
    integers: unsigned(transposedMatrix(codes)),
    zeroPoints:
      zeroPoint === "" ? new Uint8Array(groups * outputs).fill(offset) : unsigned(byRow(constantOf(graph, zeroPoint))),
    scales: Float32Array.from(numbersOf(byRow(scale))),
    groups,
  };
}

function groupSizeOf(dequantize: Node): LayerForm["groupSize"] {
  const granularity = granularityOf(dequantize);
  return isGrouped(granularity) ? granularity.groupSize : "whole";
}

/** The inputs of one group; the last of a row may have fewer. */
export const inputsPerGroup = ({ groupSize, inputs }: LayerForm): number =>
  groupSize === "whole" ? inputs : groupSize;

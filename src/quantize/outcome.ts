// What a run gives.
import type { OutputDistance } from "../evaluate/distance.ts";
import type { LayerMeasures } from "../evaluate/layer-sensitivity.ts";
import type { Metrics } from "../evaluate/metrics.ts";
import type { Stage } from "../evaluate/stages.ts";
import type { ExportedFile } from "../export/format.ts";
import type { Graph } from "../ir/graph.ts";
import type { Findings, TrainingRecord } from "../methods/method.ts";
import type { AwayFromNearest } from "../rounding/count-away.ts";
import type { ModelVerification } from "./export-model.ts";

/** Top-1 accuracies by stage of the run, in per cent; null where the run has no such stage, it was not measured (see the option `accuracies`), or there are no labels. */
export interface Top1 {
  readonly float: number | null;
  readonly ptq: number | null;
  readonly trained: number | null;
  readonly quantized: number | null;
  readonly deployed: number | null;
}

/** How long ONNX Runtime takes, in milliseconds: medians. */
export interface Latency {
  /** For one sample. */
  readonly batch1: number;
  /** For a batch of 256; `null` where so many samples take too long for anybody to run them at once. */
  readonly batch256: number | null;
}

/** Of the float model's time: for one sample, and for a batch. */
export const timeShares = (float: Latency, own: Latency): readonly number[] =>
  (["batch1", "batch256"] as const).flatMap((batch) => {
    const [before, after] = [float[batch], own[batch]];
    return before === null || after === null ? [] : [after / before];
  });

/** What `quantizeModel` gives: the verified file, and all that its report is made of. */
export interface QuantizeOutcome {
  /** The exported file, verified. */
  readonly bytes: Uint8Array;
  /** Everything that belongs to the export, that file first. */
  readonly files: readonly ExportedFile[];
  /** The model with its quantizers as trained, normalization unfolded; where nothing is quantized, the float model. */
  readonly trained: Graph;
  readonly top1: Top1;
  /** By stage; empty where there are no labels that fit the output. */
  readonly metrics: ReadonlyMap<Stage, Metrics>;
  /** Where training made the model worse, or was undone: a sentence that says so. */
  readonly trainingNote: string | undefined;
  /** Where no accuracy could be measured: by stage, the outputs' distances to the float model's. */
  readonly fidelity: ReadonlyMap<string, readonly OutputDistance[]> | undefined;
  /** The exported file's outputs against the float model's, but class scores that labels judge. */
  readonly outputs: readonly OutputDistance[];
  /** What quantization cost so much of that the file is not of use, a sentence each; empty where it is of use. */
  readonly losses: readonly string[];
  /** Of weights in groups, what the file holds of each, scales and zero points included; absent where there are none. */
  readonly bitsPerWeight: number | undefined;
  /** The output of class scores, if there is one. */
  readonly scores: string | undefined;
  /** Absent where nothing was trained. */
  readonly training: TrainingRecord | undefined;
  /** What methods found of units and of layers' bits. */
  readonly findings: Findings;
  /** By layer, of weights that a method rounded: how many have another integer than the nearest, and how many there are. */
  readonly awayFromNearest: ReadonlyMap<string, AwayFromNearest>;
  /** How near the file comes to what was trained; absent where nothing was quantized. */
  readonly verification: ModelVerification | undefined;
  /** By layer: SQNR of its output in the quantized model against the float model, dB. */
  readonly layerSqnrDb: ReadonlyMap<string, number>;
  /** Each layer's sensitivity and the histogram of its input. */
  readonly layerMeasures: LayerMeasures;
  readonly latencyMs: { readonly float: Latency; readonly deployed: Latency };
  readonly seconds: { readonly calibration: number; readonly training: number; readonly evaluation: number };
  /** How many samples were used of each split, after `limit`. */
  readonly trainSamples: number;
  readonly testSamples: number;
}

// The report of a run: everything that was asked for, found and measured, as plain data.

import { reportedDb } from "../evaluate/difference.ts";
import type { OutputDistance } from "../evaluate/distance.ts";
import type { Metrics } from "../evaluate/metrics.ts";
import { thresholds } from "../export/verify.ts";
import { type Graph, producers } from "../ir/graph.ts";
import { sizeOf, type Tensor } from "../ir/tensor.ts";
import { loaded } from "../ir/tensor-source.ts";
import { importanceOfRows } from "../methods/efqat/importance.ts";
import { methodOf } from "../methods/index.ts";
import { type QuantizationOptions, type RunOptions, stagesOf } from "../options/run-options.ts";
import { type Histogram, histogramOf, rangesOf } from "../quantizers/histogram.ts";
import { type LinearLayer, layersByWeight, linearLayers } from "../quantizers/linear-layers.ts";
import { placementOf } from "../quantizers/quantize-options.ts";
import { isQuantizer, quantizerOf } from "../quantizers/quantizer.ts";
import type {
  HistogramReport,
  LayerReport,
  MetricsReport,
  OutputReport,
  Report,
  UnitReport,
  WidthsReport,
} from "../report/report.ts";
import { foldingThresholds } from "./export-model.ts";
import type { QuantizeOutcome } from "./outcome.ts";

/** What the report says of the surroundings, which the run itself does not know. */
export type ReportFacts = Pick<
  Report,
  | "title"
  | "input"
  | "output"
  | "files"
  | "engine"
  | "precision"
  | "versions"
  | "machine"
  | "peakMemoryMb"
  | "notes"
  | "createdAt"
  | "ladder"
  | "distributed"
> & {
  readonly data: Pick<Report["data"], "name" | "heldOut" | "digest">;
  readonly totalSeconds: number;
};

/** Of the model given, with the files beside it. */
export const sizeOfInput = ({ sizeBytes, externalData }: Report["input"]): number =>
  externalData.reduce((sum, file) => sum + file.sizeBytes, sizeBytes);

export function makeReport(outcome: QuantizeOutcome, run: RunOptions, facts: ReportFacts): Report {
  const { totalSeconds, data, ...rest } = facts;
  const { quantize, methods, seed, ...whole } = run;
  const isByLayer = countsLayers(run);
  const layers = linearLayers(outcome.trained).map((layer) => layerReport(outcome, layer, isByLayer));
  const owners = new Set(layersByWeight(outcome.trained).map(({ name }) => name));
  const sum = (part: "blocks" | "weights", key: "trained" | "all"): number =>
    layers.reduce((total, layer) => total + (owners.has(layer.name) ? layer[part][key] : 0), 0);
  const shareOf = (part: "blocks" | "weights"): { trained: number; all: number } => ({
    trained: sum(part, "trained"),
    all: sum(part, "all"),
  });
  const { losses = [], learningRates = [], samples = [], trial = [] } = outcome.training ?? {};
  return {
    format: "frostbit-report-2",
    ...rest,
    options: { ...quantize, ...whole },
    methods: [...methods],
    stages: [...stagesOf(run)],
    seed,
    data: { ...data, trainSamples: outcome.trainSamples, testSamples: outcome.testSamples },
    top1: outcome.top1,
    metrics: Object.fromEntries([...outcome.metrics].map(([stage, metrics]) => [stage, metricsReport(metrics)])),
    fidelity: fidelityReport(outcome),
    outputs: outcome.outputs.map(distanceReport),
    losses: [...outcome.losses],
    sizeBytes: { float: sizeOfInput(facts.input), quantized: facts.output.sizeBytes },
    bitsPerWeight: outcome.bitsPerWeight ?? null,
    latencyMs: outcome.latencyMs,
    training: {
      steps: losses.length,
      samples: samples.at(-1) ?? 0,
      lossCurve: losses.map((loss, step) => ({
        step,
        samples: samples[step],
        loss,
        learningRate: learningRates[step],
      })),
      trial: trial.map(({ learningRate, loss }) => ({ learningRate, loss: finite(loss) })),
      blocks: shareOf("blocks"),
      weights: shareOf("weights"),
    },
    layers,
    units: unitReports(outcome),
    widths: widthsReport(outcome),
    sensitivitySamples: outcome.layerMeasures.samples,
    verification: verificationReport(outcome, quantize),
    seconds: { total: totalSeconds, ...outcome.seconds },
  };
}

/** A unit that trained before is in its next phase. */
function unitReports({ findings: { units = [] } }: QuantizeOutcome): UnitReport[] {
  return units.map(({ unit, before, after, ...rest }, i) => ({
    name: unit,
    phase: 1 + units.slice(0, i).filter((other) => other.unit === unit).length,
    before: finite(before),
    after: finite(after),
    ...rest,
  }));
}

function widthsReport({ findings: { widths } }: QuantizeOutcome): WidthsReport | null {
  if (!widths) return null;
  const { budget, layers, sensitivities, plans, front, uniform } = widths;
  return {
    budget,
    layers: layers.map(({ names, ...layer }) => ({ names: [...names], ...layer })),
    sensitivities: sensitivities.map(({ by, losses }) => ({
      by,
      losses: losses.map((each) => Object.fromEntries(each)),
    })),
    plans: plans.map(({ bits, ...plan }) => ({ ...plan, bits: [...bits] })),
    front: [...front],
    uniform: [...uniform],
  };
}

/** JSON has no NaN and no infinities. */
const finite = (value: number | null): number | null => (Number.isFinite(value) ? value : null);

/** Whether whole layers train, in all methods that train. */
function countsLayers({ methods }: RunOptions): boolean {
  const counted = methods.flatMap((step) => {
    const { training } = methodOf(step);
    return training === "none" ? [] : [training.blocks(step.options)];
  });
  return counted.length > 0 && counted.every((blocks) => blocks === "layers");
}

const measuredDb = (value: number | undefined): number | null => (value === undefined ? null : reportedDb(value));

const distanceReport = ({ name, sqnrDb, channels, agreement }: OutputDistance): OutputReport => ({
  name,
  sqnrDb: reportedDb(sqnrDb),
  leastChannelDb: measuredDb(channels?.leastDb),
  agreement: agreement ?? null,
});

const metricsReport = ({ loss, meanIou, rmse, mae, metric, ...metrics }: Metrics): MetricsReport => ({
  ...metrics,
  loss: finite(loss),
  meanIou: finite(meanIou),
  rmse: finite(rmse),
  mae: finite(mae),
  ...(metric && { metric: { ...metric, value: finite(metric.value) } }),
});

function fidelityReport({ fidelity }: QuantizeOutcome): Report["fidelity"] {
  if (!fidelity) return null;
  return Object.fromEntries([...fidelity].map(([stage, outputs]) => [stage, outputs.map(distanceReport)]));
}

function verificationReport(
  { verification, scores }: QuantizeOutcome,
  options: QuantizationOptions,
): Report["verification"] {
  if (!verification) return null;
  return {
    samples: verification.samples,
    layerSamples: verification.layerSamples,
    foldingSqnrDb: reportedDb(verification.foldingSqnrDb),
    sqnrDb: reportedDb(Math.min(...verification.outputs.map(({ sqnrDb }) => sqnrDb))),
    argmaxAgreement: verification.outputs.find(({ name }) => name === scores)?.agreement ?? null,
    outputs: verification.outputs.map(distanceReport),
    maxSteps: Math.max(0, ...verification.layers.map(({ maxSteps }) => maxSteps)),
    thresholds: { ...thresholds, foldingSqnrDb: foldingThresholds[placementOf(options)] },
  };
}

function layerReport(outcome: QuantizeOutcome, layer: LinearLayer, isByLayer: boolean): LayerReport {
  const stored = outcome.trained.constants.get(layer.weight);
  if (!stored) throw new Error(`internal: weight "${layer.weight}" is not a constant`);
  const weight = loaded(stored);
  const rows = weight.shape[layer.rowAxis];
  const perRow = sizeOf(weight.shape) / rows;
  const steps = outcome.training?.losses.length ?? 0;
  const trainedSteps = outcome.training?.trainedSteps.get(layer.weight) ?? new Array<number>(rows).fill(0);
  const trained = trainedSteps.filter((count) => count > 0).length;
  const bits = bitsOf(outcome.trained, layer);
  return {
    name: layer.name,
    node: layer.node.name,
    op: layer.node.op,
    weightShape: [...weight.shape],
    weightBits: bits.weight,
    activationBits: bits.activation,
    sqnrDb: measuredDb(outcome.layerSqnrDb.get(layer.name)),
    sensitivityDb: measuredDb(outcome.layerMeasures.sensitivityDb.get(layer.name)),
    maxSteps: outcome.verification?.layers.find(({ name }) => name === layer.name)?.maxSteps ?? null,
    importance: Array.from(importanceOfRows(weight, layer.rowAxis)),
    weightHistogram: histogramReport(weightHistogram(outcome.trained, layer, weight)),
    inputHistogram: histogramReport(outcome.layerMeasures.inputs.get(layer.name)),
    channelsTrained: trainedSteps.map((count) => (steps === 0 ? 0 : count / steps)),
    awayFromNearest: outcome.awayFromNearest.get(layer.name) ?? null,
    blocks: isByLayer ? { trained: Math.min(1, trained), all: 1 } : { trained, all: rows },
    weights: { trained: trained * perRow, all: rows * perRow },
  };
}

const histogramReport = (histogram: Histogram | undefined): HistogramReport | null =>
  histogram ? { ...histogram, counts: [...histogram.counts], range: histogram.range ?? null } : null;

function weightHistogram(graph: Graph, { node }: LinearLayer, weight: Tensor): Histogram {
  const quantize = producers(graph).get(node.inputs[1]);
  return histogramOf(weight, isQuantizer(quantize) ? rangesOf(graph, quantizerOf(quantize)) : undefined);
}

function bitsOf(graph: Graph, layer: LinearLayer): { weight: number | null; activation: number | null } {
  const producerOf = producers(graph);
  const bits = (input: string): number | null => {
    const node = producerOf.get(input);
    return isQuantizer(node) ? quantizerOf(node).bits : null;
  };
  return { weight: bits(layer.node.inputs[1]), activation: bits(layer.node.inputs[0]) };
}

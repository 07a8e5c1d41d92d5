// Methods that train by a plan: they differ in which rows of which weight train, and have the rest in common.
import type { z } from "zod";
import type { Graph } from "../ir/graph.ts";
import { selectOutputs } from "../passes/select-outputs.ts";
import { weightsOf } from "../quantizers/linear-layers.ts";
import { type FreezingPlan, shapeOfPlan } from "../training/freezing-plan.ts";
import { type TrainingOptions, trainingConflicts } from "../training/options.ts";
import type { ParameterRole } from "../training/parameters.ts";
import { buildPlannedStep } from "../training/planned-step.ts";
import { type PlanSource, stepOptionsOf } from "../training/train-by-plan.ts";
import { checkTraining, stepsOf } from "./check-training.ts";
import { chooseStatistics } from "./choose-statistics.ts";
import type { Conflict, Method, MethodModel, MethodStep, Phase, UnusedRule } from "./method.ts";
import { trainModel } from "./train-model.ts";

export interface PlanMethod<Options extends TrainingOptions> {
  readonly name: string;
  readonly summary: string;
  /** Those of training among them. */
  readonly options: z.ZodObject & z.ZodType<Options>;
  readonly phase: Extract<Phase, "training" | "float-training">;
  readonly roles: readonly ParameterRole[];
  /** What trains, of the model as it is before the first step. */
  readonly plan: (graph: Graph, options: Options, seed: number) => PlanSource;
  /** What competes as one; rows of a layer where absent. */
  readonly blocks?: (options: Options) => "rows" | "layers";
  /** What the user should know of the first plan. */
  readonly noteOf?: (plan: FreezingPlan, options: Options) => string | undefined;
  /** Besides those of all training. */
  readonly unused?: readonly UnusedRule<Options>[];
}

export function trainingMethod<Options extends TrainingOptions>(what: PlanMethod<Options>): Method<Options> {
  const { name, summary, options, phase, roles, blocks = () => "rows", unused = [] } = what;
  return {
    name,
    summary,
    options,
    phase,
    grids: phase === "float-training" ? ["power", "codebook"] : [],
    calledBy: [],
    training: {
      roles,
      loss: ({ loss }) => loss,
      scales: ({ qparamTraining }) => (qparamTraining === "tqt" ? "powers-of-two" : "any"),
      blocks,
      stepGraph: (model, given, seed) => stepGraph(model, given, what.plan(model.graph, given, seed)),
    },
    resumes: () => true,
    heldBytes: () => 0,
    unused: [...unused, ...unusedInTraining],
    conflicts: (given, before) => [...trainingConflicts(given), ...scaleConflicts(given, before)],
    check: (model, data, given) => checkTraining(model, data.train, given),
    run: (job, context) => {
      const plan = what.plan(job.model.graph, job.options, context.seed);
      const note = what.noteOf?.(plan.select(weightsOf(job.model.graph), 0), job.options);
      if (note !== undefined) context.onNote?.(note);
      if (phase === "float-training") return trainModel(job, plan, context);
      const { freezeStatistics, note: chosen } = chooseStatistics(
        job.model.graph,
        job.options,
        stepsOf(job.options, job.data.train),
      );
      if (chosen !== undefined) context.onNote?.(chosen);
      return trainModel({ ...job, options: { ...job.options, freezeStatistics } }, plan, context);
    },
  };
}

const unusedInTraining: readonly UnusedRule<TrainingOptions>[] = [
  { options: ["momentum"], by: "optimizer", isUnused: ({ optimizer }) => optimizer !== "sgd" },
  { options: ["milestones", "decay"], by: "schedule", isUnused: ({ schedule }) => schedule !== "step" },
  { options: ["epochs"], by: "steps", isUnused: ({ steps }) => steps !== undefined },
];

/**
 * Training by "tqt" starts from scales that are powers of two: calibration gives them to a first method that wants them, and no
 * other way of training keeps them so.
 */
function scaleConflicts({ qparamTraining }: TrainingOptions, before: readonly MethodStep[]): readonly Conflict[] {
  const last = before.findLast(({ options }) => options["qparamTraining"] !== undefined);
  if (qparamTraining !== "tqt" || !last || last.options["qparamTraining"] === "tqt") return [];
  return [
    {
      option: "qparamTraining",
      message: `is tqt, which trains scales that are powers of two; ${last.method} before it, by ${String(last.options["qparamTraining"])}, leaves them otherwise. Train by tqt in every method before it, or in this one by another way`,
    },
  ];
}

function stepGraph({ graph, original, outputs }: MethodModel, options: TrainingOptions, { select }: PlanSource): Graph {
  const plan = shapeOfPlan(select(weightsOf(graph), 0));
  const teacher = options.loss === "cross-entropy" ? {} : { teacher: selectOutputs(original, outputs) };
  const job = { options, ...teacher };
  return buildPlannedStep(selectOutputs(graph, outputs), stepOptionsOf(job, options.accumulate, plan, false)).graph;
}

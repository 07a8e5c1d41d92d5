// What every method that trains has in common.
import { z } from "zod";
import { augmentations } from "../data/augment.ts";
import { lossNames } from "./loss.ts";
import { qparamTrainings } from "./qparam-training.ts";
import { schedules } from "./schedule.ts";

export const trainingOptions = z.object({
  optimizer: z
    .enum(["sgd", "adam", "adamw"])
    .default("sgd")
    .describe("Optimizer of weights, biases and norms; what steps the qparams is said at qparamTraining."),
  lr: z.number().positive().default(1e-3).describe("Learning rate of weights, biases and norms."),
  momentum: z.number().min(0).max(1).default(0.9).describe("Momentum of SGD."),
  weightDecay: z.number().min(0).default(1e-4).describe("Weight decay of weights, biases and norms."),
  qparamLr: z
    .number()
    .min(0)
    .optional()
    .describe("Learning rate of scales and zero points; by default 1e-6 for direct and log2, 0.01 for tqt, else lr."),
  qparamTraining: z
    .enum(qparamTrainings)
    .default("direct")
    .describe(
      "How scales and zero points train: by Adam themselves (direct, as EfQAT) or by their logarithms (log2); by the weights' optimizer with LSQ's gradient scale, zero points fixed (lsq) or not (lsq+); clipping levels of activations by the weights' optimizer, scales of weights fixed (pact); scales as powers of two by Adam (tqt).",
    ),
  schedule: z
    .enum(schedules)
    .default("constant")
    .describe(
      "How both learning rates go from start to end: constant, cosine to 0, step (times decay at each milestone), or one-cycle (up for 30 % of the steps, down to almost 0).",
    ),
  warmup: z.number().min(0).max(0.9).default(0).describe("Share of the steps in which learning rates rise linearly."),
  milestones: z
    .array(z.number().min(0).max(1))
    .default([0.5, 0.75])
    .describe("Of schedule step: shares of the steps after which learning rates are multiplied by decay."),
  decay: z.number().min(0).max(1).default(0.1).describe("Of schedule step: the factor at each milestone."),
  epochs: z.number().positive().default(1).describe("Passes over the training data."),
  steps: z.int().positive().optional().describe("Steps to train, instead of epochs."),
  batch: z.int().positive().default(128).describe("Samples a step."),
  accumulate: z
    .int()
    .positive()
    .default(1)
    .describe(
      "Micro-batches that a batch is computed in, one after the other, to save memory; batch normalization sees the micro-batches.",
    ),
  memoryLimit: z
    .number()
    .positive()
    .optional()
    .describe(
      "Megabytes that a training step may plan for; a batch is accumulated in as many micro-batches as that takes. Native engine.",
    ),
  clipNorm: z
    .number()
    .positive()
    .optional()
    .describe("The most that the norm of the gradients may be, all together but those of qparams."),
  freezeStatistics: z
    .union([z.literal("auto"), z.number().min(0).max(1)])
    .default("auto")
    .describe(
      "Share of the steps after which batch normalization keeps its statistics; 1: never. auto: from the start in runs of fewer than 150 steps, at an lr of at most batch/32 · 1e-3, else never; never in float training.",
    ),
  reestimateStatistics: z
    .int()
    .min(0)
    .default(0)
    .describe("Training samples from which the statistics of batch normalization are computed again after training."),
  validationShare: z
    .union([z.literal("auto"), z.number().min(0).max(0.5)])
    .default("auto")
    .describe(
      "Share of the training samples, drawn by the seed, that do not train: where the trained model's loss on them is not below that of the model before training, that one is kept, with a note. auto: 0.02 behind a method that chooses the integers of weights, such as gptq or qdrop, where that is 256 samples or more; else 0.",
    ),
  trialSteps: z
    .int()
    .min(0)
    .default(0)
    .describe(
      "Steps of a trial before training, of each of several learning rates from lr / 10 to 10 · lr: the one trains whose loss on the training samples held out (validationShare, of which auto then is 0.02, or 1,024 samples where that is more, and a tenth at most) is least. 0: no trial.",
    ),
  augment: z.array(z.enum(augmentations)).default([]).describe("Random changes of training images: crop, flip."),
  loss: z
    .enum(lossNames)
    .default("cross-entropy")
    .describe(
      "cross-entropy needs labels; distill follows the float model's probabilities; mse the outputs that the data gives as labels, else the float model's.",
    ),
  checkpointEvery: z.int().positive().default(50).describe("Steps between checkpoints."),
});

/** What the options together say is wrong: the option at fault and why; empty where they make sense. */
export function trainingConflicts(options: TrainingOptions): readonly { option: string; message: string }[] {
  const conflicts: { option: string; message: string }[] = [];
  const add = (isWrong: boolean, option: keyof TrainingOptions, message: string): void => {
    if (isWrong) conflicts.push({ option, message });
  };
  const { schedule, warmup, milestones, batch, accumulate } = options;
  add(
    schedule === "one-cycle" && warmup > 0,
    "warmup",
    `is ${warmup}; schedule one-cycle has its own warm-up. Leave it out, or choose another schedule`,
  );
  add(
    milestones.some((milestone, i) => i > 0 && milestone <= milestones[i - 1]),
    "milestones",
    `is ${milestones.join(",")}; expected numbers that rise`,
  );
  return [...conflicts, ...accumulateConflicts(batch, accumulate)];
}

/** A batch is computed in equal parts. */
export const accumulateConflicts = (
  batch: number,
  accumulate: number,
): readonly { option: string; message: string }[] =>
  batch % accumulate === 0
    ? []
    : [{ option: "accumulate", message: `is ${accumulate}; expected a number that divides the batch of ${batch}` }];

export type TrainingOptions = z.infer<typeof trainingOptions>;

// What every method that trains has in common.
import { z } from "zod";
import { augmentations } from "../data/augment.ts";
import { qparamTrainings } from "./qparam-training.ts";

export const trainingOptions = z.object({
  optimizer: z
    .enum(["sgd", "adam"])
    .default("sgd")
    .describe("Optimizer of weights, biases and norms; qparams always use Adam."),
  lr: z.number().positive().default(1e-3).describe("Learning rate of weights, biases and norms."),
  momentum: z.number().min(0).max(1).default(0.9).describe("Momentum of SGD."),
  weightDecay: z.number().min(0).default(1e-4).describe("Weight decay of weights, biases and norms."),
  qparamLr: z.number().min(0).default(1e-6).describe("Learning rate of scales and zero points (Adam)."),
  qparamTraining: z
    .enum(qparamTrainings)
    .default("direct")
    .describe("What of a scale is trained: the scale itself, or its logarithm (log2)."),
  schedule: z
    .enum(["constant", "cosine"])
    .default("constant")
    .describe("How both learning rates go from start to end."),
  epochs: z.number().positive().default(1).describe("Passes over the training data."),
  steps: z.int().positive().optional().describe("Steps to train, instead of epochs."),
  batch: z.int().positive().default(128).describe("Samples a step."),
  augment: z.array(z.enum(augmentations)).default([]).describe("Random changes of training images: crop, flip."),
  loss: z
    .enum(["cross-entropy", "distill"])
    .default("cross-entropy")
    .describe("cross-entropy needs labels; distill follows the float model's probabilities."),
  checkpointEvery: z.int().positive().default(50).describe("Steps between checkpoints."),
});

export type TrainingOptions = z.infer<typeof trainingOptions>;

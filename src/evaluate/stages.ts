// What a run's accuracies are measured of.

/** From the model as given to the file written; a run has those that its methods add. */
export const stages = ["float", "ptq", "trained", "quantized", "deployed"] as const;
export type Stage = (typeof stages)[number];

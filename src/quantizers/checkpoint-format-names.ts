// What formats of checkpoints are called: `export/checkpoints/table.ts` has what each is.
export const checkpointFormatNames = ["gguf", "gptq", "compressed-tensors"] as const;
export type CheckpointFormatName = (typeof checkpointFormatNames)[number];

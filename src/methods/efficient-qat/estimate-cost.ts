// What Block-AP of a decoder will take, before anything of it runs.

export interface BlockApWork {
  /** Of the decoder: its width, the heads of its attention and the size of one, and its blocks. */
  readonly config: {
    readonly hidden: number;
    readonly heads: number;
    readonly headSize: number;
    readonly intermediate: number;
    readonly vocabulary: number;
    readonly layers: { readonly length: number };
  };
  /** Of the layers of all blocks. */
  readonly weights: number;
  /** Windows that blocks train with, those held out, and the tokens of each. */
  readonly windows: number;
  readonly heldOut: number;
  readonly length: number;
  readonly epochs: number;
  /** Windows of a step. */
  readonly batch: number;
  /** What activations between blocks may take in memory. */
  readonly cacheBytes: number;
  /** Of the written file. */
  readonly fileBytes: number;
  /** Whether steps keep 16 bits of what they compute. */
  readonly isMixed: boolean;
}

export interface BlockApCost {
  readonly multiplyAdds: number;
  /** Of the process at most: while blocks train, or while the file is verified. */
  readonly memoryBytes: number;
  /** Checkpoints, activations that do not stay in memory, and the file. */
  readonly diskBytes: number;
  /** Activations between two blocks, of the float and the quantized model, in 16 bits. */
  readonly streamBytes: number;
  /** Checkpoints of all blocks: a byte for each weight, and scales and zero points. */
  readonly checkpointBytes: number;
  readonly seconds: number;
}

/** Passes over the training windows and over those held out, where a step counts as three: forward, and two kinds of gradients. */
const passesOf = ({ epochs }: BlockApWork) => ({ training: 3 * epochs + 2, heldOut: 2 + 1 + epochs });

/** Multiply-adds of a window's forward pass through all blocks; scores are computed of all pairs of tokens. */
export const windowMultiplyAdds = ({ config, weights, length }: Pick<BlockApWork, "config" | "weights" | "length">) =>
  length * (weights + 2 * config.layers.length * config.heads * config.headSize * length);

/** The share of the speed of products that whole steps reach, and seconds that a number between two blocks takes when it is read or kept. */
const [reached, secondsOfNumber] = [0.9, 8e-9];

/** Node, its program and libraries; constants that the native engine keeps, and plans that no unit uses at the moment. */
const [processBytes, keptConstants, idlePlans] = [1e8, 2 ** 26, 2 ** 27];

/** Integers of all blocks in 4 bits, in the model and in what became of its units. */
const heldIntegers = ({ weights }: BlockApWork): number => 2 * (weights / 2);

/**
 * Of a block's weights the values, both of Adam's, and in JavaScript those of the file, of the start and of two epochs. Of a token,
 * 16 bits of four values as wide as the feed-forward network and 26 bytes for each number between blocks.
 */
function trainingBytes(work: BlockApWork, streamBytes: number): number {
  const { config, weights, length, batch, cacheBytes, isMixed } = work;
  const step = batch * length * (4 * 2 * config.intermediate + 26 * config.hidden) * (isMixed ? 1 : 2);
  const block = (3 + 4) * 4 * (weights / config.layers.length);
  const kept = keptConstants + idlePlans;
  return processBytes + Math.min(cacheBytes, streamBytes) + heldIntegers(work) + block + step + kept;
}

/** What a run of the file gives is 128 MB, or the logits of one window where these are more. */
const outputBytes = 2 ** 27;
const most = 64;

/**
 * ONNX Runtime holds the file and its matrices in the order in which it multiplies, an engine the head, and three hold logits: either of
 * them, and what is compared.
 */
function verificationBytes(work: BlockApWork): number {
  const { config, weights, length, fileBytes } = work;
  const head = 4 * config.vocabulary * config.hidden;
  const logits = 4 * config.vocabulary * length;
  const session = fileBytes + weights / 2 + head;
  return (
    processBytes +
    heldIntegers(work) +
    session +
    head +
    keptConstants +
    3 * Math.max(logits, Math.min(outputBytes, most * logits))
  );
}

/** `speed`: multiply-adds in a second of products as large as a block's. */
export function blockApCost(work: BlockApWork, speed: number): BlockApCost {
  const { config, weights, windows, heldOut, length, epochs } = work;
  const passes = passesOf(work);
  const multiplyAdds = windowMultiplyAdds(work) * (windows * passes.training + heldOut * passes.heldOut);
  const streamBytes = 2 * 2 * 2 * (windows + heldOut) * length * config.hidden;
  const checkpointBytes = Math.round(weights * (1 + 8 / 64));
  const numbers = config.layers.length * config.hidden * length;
  const moved = numbers * (windows * (2 * epochs + 4) + heldOut * (4 + 2 * (1 + epochs)));
  return {
    multiplyAdds,
    memoryBytes: Math.round(Math.max(trainingBytes(work, streamBytes), verificationBytes(work))),
    diskBytes: checkpointBytes + Math.max(0, streamBytes - work.cacheBytes) + work.fileBytes,
    streamBytes,
    checkpointBytes,
    seconds: multiplyAdds / (speed * reached) + moved * secondsOfNumber,
  };
}

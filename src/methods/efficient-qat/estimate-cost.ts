// What Block-AP of a decoder will take, before anything of it runs.

export interface BlockApWork {
  /** Of the decoder: its width, the heads of its attention and the size of one, and its blocks. */
  readonly config: {
    readonly hidden: number;
    readonly heads: number;
    readonly headSize: number;
    readonly layers: { readonly length: number };
  };
  /** Of the layers of all blocks. */
  readonly weights: number;
  /** Windows that blocks train with, those held out, and the tokens of each. */
  readonly windows: number;
  readonly heldOut: number;
  readonly length: number;
  readonly epochs: number;
}

export interface BlockApCost {
  readonly multiplyAdds: number;
  /** Activations between two blocks, of the float and the quantized model, in 16 bits. */
  readonly streamBytes: number;
  /** Checkpoints of all blocks: a byte for each weight, and scales and zero points. */
  readonly checkpointBytes: number;
  readonly seconds: number;
}

/** Passes over the training windows and over those held out, where a step counts as three: forward, and two kinds of gradients. */
const passesOf = ({ epochs }: BlockApWork) => ({ training: 3 * epochs + 2, heldOut: 2 + 1 + epochs });

/** Multiply-adds of a window's forward pass through all blocks; scores are computed of all pairs of tokens. */
export const windowMultiplyAdds = ({ config, weights, length }: Omit<BlockApWork, "windows" | "heldOut" | "epochs">) =>
  length * (weights + 2 * config.layers.length * config.heads * config.headSize * length);

/** The share of the speed of products that whole steps reach, and seconds that a number between two blocks takes when it is read or kept. */
const [reached, secondsOfNumber] = [0.7, 2.5e-8];

/** `speed`: multiply-adds in a second of products as large as a block's. */
export function blockApCost(work: BlockApWork, speed: number): BlockApCost {
  const { config, weights, windows, heldOut, length, epochs } = work;
  const passes = passesOf(work);
  const multiplyAdds = windowMultiplyAdds(work) * (windows * passes.training + heldOut * passes.heldOut);
  const numbers = config.layers.length * config.hidden * length;
  const moved = numbers * (windows * (2 * epochs + 4) + heldOut * (4 + 2 * (1 + epochs)));
  return {
    multiplyAdds,
    streamBytes: 2 * 2 * 2 * (windows + heldOut) * length * config.hidden,
    checkpointBytes: Math.round(weights * (1 + 8 / 64)),
    seconds: multiplyAdds / (speed * reached) + moved * secondsOfNumber,
  };
}

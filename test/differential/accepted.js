// Where ONNX Runtime and Frostbit may differ, each with its reason.

/** A Squeeze that leaves its axes to the run. */
const hasOpenSqueeze = ({ graph }) =>
  graph.node.some(({ opType, input, attribute }) => opType === "Squeeze" && !input[1] && attribute.length === 0);

const squeezesBatch = "a Squeeze without axes keeps a batch that happens to be 1";

/** What ONNX Runtime refuses and Frostbit runs. */
const refusals = [
  {
    pattern: /NOT_IMPLEMENTED|Could not find an implementation|Unsupported data type/,
    reason: "ONNX Runtime has no kernel for these types",
  },
  {
    pattern: /'(Linear|Cubic)' mode only supports|Resize: bi(linear|cubic) mode only/,
    reason: "ONNX Runtime resizes two axes at most",
  },
  { pattern: /GetRatioOrDefault|Ratio of Dropout/, reason: "a Dropout's ratio means nothing when nothing trains" },
  { pattern: /GetAttr\("hidden_size"/, reason: "the size of a state follows from its weights" },
  { pattern: /LRN<T>::LRN/, reason: "ONNX does not limit LRN's parameters" },
  {
    pattern: /squeeze.h:78 /,
    reason: "ONNX Runtime wants the axes of a Squeeze that leaves them out by an empty name",
  },
  {
    pattern: /Scale value should be greater than 0/,
    reason: "an empty input has no scale; ONNX Runtime divides by its size",
  },
  {
    pattern: /Product cannot be 0 in combination with -1|Invalid Target shape product of 0/,
    reason: "ONNX Runtime's own form of the loss cannot be empty",
  },
  {
    pattern: /Invalid value\(-\d+\) for attribute 'axis'/,
    reason: "axes counted from the end came with opset 11, and mean the same before",
  },
  {
    pattern: /Input cannot be split evenly/,
    reason: "since opset 18 a last part may be smaller, and so it is of sizes that a run decides",
  },
  { pattern: /Resize node.*\n?.*Tensor type mismatch/s, reason: "ONNX Runtime reads a crop's region as float32 alone" },
  {
    pattern: /Invalid num_outputs value of .* Size of dimension being split is 0/,
    reason: "the parts of nothing are empty, as before opset 18",
  },
  {
    pattern: /initializer_arg was false/,
    reason: "ONNX Runtime loads no initializer that nothing reads and is no input",
  },
  { pattern: /QLinearMatmul : weight zero point must be/, reason: "one element is one number, whatever its axes" },
  {
    pattern: /Upsample node.*Scale value should be greater than or equal to 1/s,
    reason: "what a run gives Upsample is what Resize takes",
  },
  {
    pattern: /output arg \(Mean\) type inference failed, inferred types: .*bfloat16/,
    reason: "ONNX Runtime takes a normalization's statistics for float32, also where the file says bfloat16",
  },
  { pattern: /two nodes with same node name/, reason: "ONNX does not ask for names of nodes that differ" },
];

/** Names of the nodes that no output depends on. */
function idleNodes({ graph }) {
  const wanted = new Set(graph.output.map(({ name }) => name));
  const idle = graph.node.toReversed().filter(({ input, output }) => {
    if (!output.some((name) => wanted.has(name))) return true;
    for (const name of input) wanted.add(name);
    return false;
  });
  return new Set(idle.map(({ name }) => name));
}

export function reasonToAccept(message, model) {
  if (hasOpenSqueeze(model)) return squeezesBatch;
  const [, failed] = /failed while running.* Name:'([^']+)'/s.exec(message) ?? [];
  if (failed && idleNodes(model).has(failed)) return "what nothing reads is not computed, and fails in the run alone";
  return refusals.find(({ pattern }) => pattern.test(message))?.reason;
}

const isEmpty = ({ shape }) => shape.includes(0);

/** Where results may differ. */
const results = [
  {
    reason: "ONNX Runtime takes negative axes of an empty input for none",
    holds: ({ graph }, inputs) =>
      graph.node.some(({ opType }) => /^(Reduce|Arg)/.test(opType)) &&
      ([...inputs.values()].some(isEmpty) || graph.initializer.some(({ dims }) => dims.includes(0n))),
  },
  {
    reason: "interpolated integers are cut, and rounding decides which side of a whole number they are on",
    holds: ({ graph }, inputs) =>
      graph.node.some(({ opType }) => /^(Resize|Upsample)$/.test(opType)) &&
      [...inputs.values()].some(({ dtype }) => /int/.test(dtype)),
  },
  { reason: squeezesBatch, holds: hasOpenSqueeze },
  {
    reason: "ONNX leaves open the last state of a sequence of length 0: ONNX Runtime gives 0, Frostbit the first state",
    holds: ({ graph }, inputs) =>
      graph.node.some(
        ({ opType, input }) =>
          /^(LSTM|GRU|RNN)$/.test(opType) &&
          [...(inputs.get(input[4])?.data ?? [])].some((length) => Number(length) <= 0),
      ),
  },
  {
    reason: "ONNX leaves open whether a NaN is the largest, and ONNX Runtime's kernels do it either way",
    holds: ({ graph }) =>
      graph.node.some(({ opType }) => /^(Arg|ReduceM(ax|in)$)/.test(opType)) &&
      graph.node.some(({ opType }) => /(Pow|Log|Sqrt)|^(A.*(sin|cos|tan)h?)$/.test(opType)),
  },
  {
    reason: "ONNX Runtime's variance is the mean of squares less the square of the mean, which cancels",
    holds: ({ graph }) => graph.node.some(({ opType }) => opType === "MeanVarianceNormalization"),
  },
];

export const reasonToDiffer = (model, inputs) => results.find(({ holds }) => holds(model, inputs))?.reason;

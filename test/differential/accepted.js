// Where ONNX Runtime and Frostbit may differ, each with its reason.

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
    pattern: /Product cannot be 0 in combination with -1/,
    reason: "ONNX Runtime's own form of the loss cannot be empty",
  },
  {
    pattern: /Invalid value\(-\d+\) for attribute 'axis'/,
    reason: "axes counted from the end came with opset 11, and mean the same before",
  },
  { pattern: /two nodes with same node name/, reason: "ONNX does not ask for names of nodes that differ" },
];

export const reasonToAccept = (message) => refusals.find(({ pattern }) => pattern.test(message))?.reason;

const isEmpty = ({ shape }) => shape.includes(0);

/** Where results may differ. */
const results = [
  {
    reason: "ONNX Runtime takes negative axes of an empty input for none",
    holds: ({ graph }, inputs) =>
      graph.node.some(({ opType }) => /^(Reduce|Arg)/.test(opType)) && [...inputs.values()].some(isEmpty),
  },
  {
    reason: "ONNX Runtime's variance is the mean of squares less the square of the mean, which cancels",
    holds: ({ graph }) => graph.node.some(({ opType }) => opType === "MeanVarianceNormalization"),
  },
];

export const reasonToDiffer = (model, inputs) => results.find(({ holds }) => holds(model, inputs))?.reason;

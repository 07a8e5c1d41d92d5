// What of ONNX's node tests is left out, and why. A test compares this with what is installed, so that nothing slips away unseen.

const because = (reason: string, ...names: readonly string[]): readonly (readonly [string, string])[] =>
  names.map((name) => [name, reason]);

/** Operators that nothing here reads. */
export const excludedOperators: ReadonlyMap<string, string> = new Map([
  ...because("control flow", "If", "Loop", "Scan"),
  ...because(
    "sequences and optional values",
    ...["OptionalGetElement", "OptionalHasElement", "SequenceEmpty", "SequenceInsert", "SequenceLength", "SequenceMap"],
  ),
  ...because("optimizers", "Adagrad", "Adam", "Momentum"),
  ...because("strings", "StringNormalizer", "TfIdfVectorizer"),
  ...because("random numbers", "Bernoulli", "RandomUniformLike"),
  ...because("signals", "BlackmanWindow", "DFT", "HammingWindow", "HannWindow", "MelWeightMatrix", "STFT"),
  ...because("detection", "NonMaxSuppression", "RoiAlign"),
  ...because("sizes that depend on data", "Compress", "Unique"),
  ...because("a loss in the model", "NegativeLogLikelihoodLoss"),
  ...because("rare", "Det", "EyeLike", "GridSample", "MaxUnpool", "ReverseSequence"),
]);

/** Forms of operators that are not read, or whose expected outputs are not ours: a pattern of the test's name, and why. */
export const excludedForms: readonly { readonly pattern: RegExp; readonly reason: string }[] = [
  { pattern: /STRING/, reason: "strings" },
  { pattern: /^test_(gru|lstm|rnn|simple_rnn)_batchwise$/, reason: "the batch first, which ONNX Runtime lacks" },
  { pattern: /BFLOAT16/, reason: "bfloat16 tensors that the test data holds as uint16" },
  { pattern: /^test_identity_(opt|sequence)$/, reason: "sequences and optional values" },
  { pattern: /^test_(training_dropout|batchnorm_.*training_mode)/, reason: "training mode" },
  {
    pattern: /^test_sce_.*(weight|_ii|none|sum)(?!.*_expanded)/,
    reason: "class weights, ignored classes and other reductions of the loss",
  },
  { pattern: /^test_maxpool_with_argmax_2d_precomputed_strides$/, reason: "column-major indices" },
  { pattern: /_tf_half_pixel_for_nn$/, reason: "a mode that ONNX dropped with opset 13" },
  {
    pattern: /^test_resize_downsample_scales_(cubic|linear)_align_corners$/,
    reason: "expected outputs that ONNX corrected later: they count with a size that is not an integer",
  },
  {
    pattern: /^test_(blackman|hamming|hann)window_.*expanded$/,
    reason: "functions whose pi is 3.1415, unlike their expected outputs'",
  },
];

/** Types that ONNX Runtime has no kernels of, in tests that the reference engine runs. */
export const excludedFromOnnxRuntime =
  /^test_(bitshift_(left|right)_uint16|(max|min)_u?int16|pow_types_float32_uint(32|64))$/;

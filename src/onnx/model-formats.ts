// The formats of model files, and what else is given as one: how each is recognized, and what to do about those that nothing here reads.

const torchExport = "Export the model with torch.onnx.export, from Python.";

type Test = (head: string) => boolean;

const startsWith =
  (magic: string, at = 0): Test =>
  (head) =>
    head.startsWith(magic, at);

const matches =
  (pattern: RegExp): Test =>
  (head) =>
    pattern.test(head);

/** One kind of file. A format with a `remedy` is named in an error; one without it has a reader in `node/model-readers.ts`. */
export interface ModelFormat {
  /** What the file is, as in "the file is …". */
  readonly description: string;
  /** Whether a file with these first bytes, one character each, is of the format, whatever its name. */
  readonly startsLikeThis?: Test;
  /** Ends of names, of formats whose first bytes tell nothing. */
  readonly extensions?: readonly string[];
  /** A file that a folder of this format holds. */
  readonly folderHolds?: string;
  /** How to get a model that is read. */
  readonly remedy?: string;
}

/** In the order in which they are asked. */
export const modelFormats = {
  onnx: { description: "an ONNX model", extensions: [".onnx"] },
  gitLfs: {
    description: "a pointer of Git LFS, not the file itself",
    startsLikeThis: startsWith("version https://git-lfs"),
    remedy: "Fetch the file with git lfs pull.",
  },
  tensorFlowLite: {
    description: "a TensorFlow Lite model",
    startsLikeThis: startsWith("TFL3", 4),
    remedy: "Convert it with tf2onnx: python -m tf2onnx.convert --tflite model.tflite --output model.onnx.",
  },
  onnxRuntime: {
    description: "a model in ONNX Runtime's own format (.ort)",
    startsLikeThis: startsWith("ORTM", 4),
    remedy: "Give the .onnx file that it was made of.",
  },
  zip: {
    description: "a zip archive, such as PyTorch's .pt and .pth or Keras's .keras files",
    startsLikeThis: startsWith("PK\x03\x04"),
    remedy: "Export the model from Python, with torch.onnx.export or tf2onnx.convert.from_keras.",
  },
  pickle: {
    description: "a Python pickle, such as PyTorch's .pt and .pth files",
    startsLikeThis: (head) => head[0] === "\x80" && head[1] >= "\x02" && head[1] <= "\x05",
    remedy: torchExport,
  },
  hdf5: {
    description: "an HDF5 file, such as Keras's .h5",
    startsLikeThis: startsWith("\x89HDF"),
    remedy: "Convert it with tf2onnx: tf2onnx.convert.from_keras, from Python.",
  },
  savedModel: {
    description: "a TensorFlow SavedModel",
    folderHolds: "saved_model.pb",
    remedy: "Convert it with tf2onnx: python -m tf2onnx.convert --saved-model FOLDER --output model.onnx.",
  },
  tensorFlowGraph: {
    description: "a TensorFlow graph",
    extensions: [".pb", ".pbtxt"],
    remedy: "Convert it with tf2onnx: --saved-model for the folder of a saved_model.pb, --graphdef for a frozen graph.",
  },
  huggingFace: { description: "a language model's folder, as Hugging Face has them", folderHolds: "config.json" },
  gguf: { description: "a GGUF file", startsLikeThis: startsWith("GGUF"), remedy: "Give the model as ONNX." },
  gzip: {
    description: "compressed with gzip",
    startsLikeThis: startsWith("\x1f\x8b"),
    remedy: "Unpack it with gunzip.",
  },
  numpy: {
    description: "an array of NumPy",
    startsLikeThis: startsWith("\x93NUMPY"),
    remedy: "Give the model; arrays are data.",
  },
  /** Its header: the length in 8 bytes, then JSON. */
  safetensors: {
    description: "a safetensors file, which holds weights but no network",
    startsLikeThis: matches(/^[\s\S]{4}\0{4}\{\s*"/),
    remedy: "Export the model that they belong to, with torch.onnx.export or optimum-cli export onnx.",
  },
  coreMl: {
    description: "a Core ML model",
    extensions: [".mlmodel"],
    folderHolds: "Manifest.json",
    remedy: "Export the model that it was converted from as ONNX.",
  },
  openVino: {
    description: "the network of an OpenVINO model",
    startsLikeThis: matches(/^\s*(<\?xml[^>]*>\s*)?<net\s/),
    remedy: "Give the ONNX file that it was converted from.",
  },
  markup: {
    description: "a page of HTML or XML, as failed downloads leave",
    startsLikeThis: matches(/^\s{0,19}</),
    remedy: "Download the model again.",
  },
  json: { description: "JSON", startsLikeThis: matches(/^\s{0,19}[{[]/), remedy: "Give the model as an .onnx file." },
} as const satisfies Readonly<Record<string, ModelFormat>>;

type Formats = typeof modelFormats;
export type FormatName = keyof Formats;

/** The formats that are read: those without a remedy. */
export type ReadFormat = { [Name in FormatName]: Formats[Name] extends { remedy: string } ? never : Name }[FormatName];

const formats: readonly (readonly [FormatName, ModelFormat])[] = Object.entries(modelFormats) as [
  FormatName,
  ModelFormat,
][];

/** How many bytes of a file tell its format. */
export const headBytes = 128;

const headOf = (bytes: Uint8Array): string => String.fromCharCode(...bytes.subarray(0, headBytes));

/** The format of a file: by its first bytes or, where they tell nothing, by the end of its name. */
export function formatOf(bytes: Uint8Array, name: string): FormatName | undefined {
  const head = headOf(bytes);
  const hasExtension = ({ extensions = [] }: ModelFormat): boolean =>
    extensions.some((extension) => name.toLowerCase().endsWith(extension));
  const found =
    formats.find(([, { startsLikeThis }]) => startsLikeThis?.(head)) ??
    formats.find(([, format]) => hasExtension(format));
  return found?.[0];
}

export const isRead = (format: FormatName): format is ReadFormat => !("remedy" in modelFormats[format]);

const describe = (subject: string, { description, remedy }: ModelFormat): string | undefined =>
  remedy && `the ${subject} is ${description}, and no ONNX model. ${remedy}`;

/** A sentence or two about a file that is no ONNX model, where its format is known. Without a name, its first bytes decide. */
export function describeOtherFormat(bytes: Uint8Array, name = ""): string | undefined {
  const format = formatOf(bytes, name);
  return format && describe("file", modelFormats[format]);
}

/** The format of a folder, by what it holds. */
export function formatOfFolder(holds: (file: string) => boolean): FormatName | undefined {
  const found = formats.find(([, { folderHolds }]) => folderHolds !== undefined && holds(folderHolds));
  return found?.[0];
}

/** A sentence or two about a folder of a format that is not read. */
export const describeFolder = (format: FormatName): string | undefined => describe("folder", modelFormats[format]);

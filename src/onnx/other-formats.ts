// Files that are no ONNX models but often given as one: what they are, and how to get the model that they belong to.

const textOf = (bytes: Uint8Array, from: number, to: number): string =>
  String.fromCharCode(...bytes.subarray(from, Math.min(to, bytes.length)));

interface Format {
  readonly has: (bytes: Uint8Array) => boolean;
  readonly what: string;
  readonly remedy: string;
}

const startsWith =
  (magic: string, at = 0) =>
  (bytes: Uint8Array): boolean =>
    textOf(bytes, at, at + magic.length) === magic;

/** Their header: its length in 8 bytes, then JSON. */
const isSafetensors = (bytes: Uint8Array): boolean => /^[\s\S]{4}\0{4}\{\s*"/.test(textOf(bytes, 0, 12));

const torchExport = "Export the model with torch.onnx.export, from Python.";
const kerasConvert = "Convert it with tf2onnx";

const formats: readonly Format[] = [
  {
    has: startsWith("version https://git-lfs"),
    what: "a pointer of Git LFS, not the file itself",
    remedy: "Fetch the file with git lfs pull.",
  },
  {
    has: startsWith("TFL3", 4),
    what: "a TensorFlow Lite model",
    remedy: `${kerasConvert}: python -m tf2onnx.convert --tflite model.tflite --output model.onnx.`,
  },
  {
    has: startsWith("ORTM", 4),
    what: "a model in ONNX Runtime's own format (.ort)",
    remedy: "Give the .onnx file that it was made of.",
  },
  { has: startsWith("PK\x03\x04"), what: "a zip archive, such as PyTorch's .pt and .pth files", remedy: torchExport },
  {
    has: (bytes) => bytes[0] === 0x80 && bytes[1] >= 2 && bytes[1] <= 5,
    what: "a Python pickle, such as PyTorch's .pt and .pth files",
    remedy: torchExport,
  },
  {
    has: startsWith("\x89HDF"),
    what: "an HDF5 file, such as Keras's .h5",
    remedy: `${kerasConvert}: tf2onnx.convert.from_keras, from Python.`,
  },
  { has: startsWith("GGUF"), what: "a GGUF file", remedy: "Give the model as ONNX." },
  { has: startsWith("\x1f\x8b"), what: "compressed with gzip", remedy: "Unpack it with gunzip." },
  { has: startsWith("\x93NUMPY"), what: "an array of NumPy", remedy: "Give the model; arrays are data." },
  {
    has: isSafetensors,
    what: "a safetensors file, which holds weights but no network",
    remedy: "Export the model that they belong to, with torch.onnx.export or optimum-cli export onnx.",
  },
  {
    has: (bytes) => /^\s*</.test(textOf(bytes, 0, 20)),
    what: "a page of HTML or XML, as failed downloads leave",
    remedy: "Download the model again.",
  },
  { has: (bytes) => /^\s*[{[]/.test(textOf(bytes, 0, 20)), what: "JSON", remedy: "Give the model as an .onnx file." },
];

/** A sentence or two, where the file is of a kind that is known. */
export function describeOtherFormat(bytes: Uint8Array): string | undefined {
  const format = formats.find(({ has }) => has(bytes));
  return format && `the file is ${format.what}, and no ONNX model. ${format.remedy}`;
}

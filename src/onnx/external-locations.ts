// Which files beside a model hold its tensors.
import { fromBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema } from "onnx-buf";
import type { ByteSource } from "../ir/tensor-source.ts";
import { placeOf } from "./external-data.ts";
import { outlineFile } from "./file-outline.ts";

/** The files of external data that a model names, each once. */
export function externalLocations(file: ByteSource): readonly string[] {
  const { graph } = fromBinary(ModelProtoSchema, outlineFile(file)?.bytes ?? file.read(0, file.sizeBytes));
  const inNodes = (graph?.node ?? []).flatMap(({ attribute }) => attribute.flatMap(({ t }) => (t ? [t] : [])));
  const external = [...(graph?.initializer ?? []), ...inNodes].filter(({ externalData }) => externalData.length > 0);
  return [...new Set(external.map((proto) => placeOf(proto, `"${proto.name}"`).location))];
}

"""Writes src/onnx/onnx-schemas.ts: what a node of each of ONNX's operators that are read consists of, by opset.

Made with onnx 1.23: python3 scripts/write-onnx-schemas.py OPERATOR… > src/onnx/onnx-schemas.ts
Operators older than opset 7 count as 7's; a version that changes types alone has no line.
"""

import sys

from onnx import defs

OLDEST, NEWEST = 7, 24
OPTION = defs.OpSchema.FormalParameterOption
MARKS = {OPTION.Single: "1", OPTION.Optional: "?", OPTION.Variadic: "+"}
KINDS = {"FLOAT": "f", "INT": "i", "STRING": "s", "TENSOR": "t", "FLOATS": "F", "INTS": "I", "STRINGS": "S"}


def attribute(name, schema):
    kind = KINDS.get(str(schema.type).split(".")[-1], "x")
    return f"{name}:{kind}{'!' if schema.required else ''}"


def line_of(op, opset):
    try:
        schema = defs.get_schema(op, opset, "")
    except Exception:
        return None
    # ONNX Runtime reads a GroupNormalization that is deprecated, and nothing else that is.
    if schema.deprecated and op != "GroupNormalization":
        return "gone"
    inputs = "".join(MARKS[p.option] for p in schema.inputs) or "-"
    outputs = "".join(MARKS[p.option] for p in schema.outputs) or "-"
    return " ".join([f"{inputs}>{outputs}", *sorted(attribute(*item) for item in schema.attributes.items())])


lines = []
for op in sorted(sys.argv[1:]):
    before = None
    for opset in range(OLDEST, NEWEST + 1):
        line = line_of(op, opset)
        if line is not None and line != before:
            lines.append(f"{op} {opset} {line}")
        before = line

print(f"""// What a node of each of ONNX's operators consists of, by the opset that says so. Written by scripts/write-onnx-schemas.py.

/**
 * A line each: operator, opset, inputs > outputs, attributes. 1 is an input that must be there, ? one that may be left out, + one or
 * more; after an attribute's name its type (f i s t, in capitals a list of them, x another), and ! where it must be there. gone: the opset took it away.
 */
export const onnxSchemas = `
{chr(10).join(lines)}
`;""")

"""Writes src/onnx/schemas.ts again: ONNX's own schemas of the operators that it has, and of those that are named.

Made with onnx 1.23: python3 scripts/write-schemas.py [OPERATOR...] && npx biome check --write src/onnx/schemas.ts
"""

import re
import sys
from pathlib import Path

from onnx import __version__, defs

SCHEMAS = Path(__file__).parent.parent / "src/onnx/schemas.ts"
OLDEST, NEWEST = 7, 25
DTYPES = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "int8": "int8",
    "uint8": "uint8",
    "int16": "int16",
    "uint16": "uint16",
    "int32": "int32",
    "uint32": "uint32",
    "int64": "int64",
    "uint64": "uint64",
    "bool": "bool",
    "int4": "int4",
    "uint4": "uint4",
    "int2": "int2",
    "uint2": "uint2",
}
ATTRIBUTES = {"FLOAT": "f", "INT": "i", "STRING": "s", "TENSOR": "t", "FLOATS": "F", "INTS": "I", "STRINGS": "S"}
# ONNX replaced this version by another; runtimes go on running it in the opsets that have it.
STILL_RUN = {("GroupNormalization", 18)}
OPTION = {"Single": "", "Optional": "?", "Variadic": "*"}

type_sets: dict[str, int] = {}


def type_set(names):
    """The number of a set of element types; those that Frostbit does not have are left out."""
    plain = [name[len("tensor(") : -1] for name in names if name.startswith("tensor(")]
    key = " ".join(dtype for name, dtype in DTYPES.items() if name in plain)
    return type_sets.setdefault(key, len(type_sets))


def inputs_of(schema):
    tied = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
    words = []
    for parameter in schema.inputs:
        name = parameter.type_str
        is_tied = name in tied and (parameter.option.name != "Variadic" or parameter.is_homogeneous)
        kind = f"{name}:{type_set(tied[name])}" if is_tied else f":{type_set(tied.get(name, [name]))}"
        words.append(kind + OPTION[parameter.option.name])
    return " ".join(words)


def attributes_of(schema):
    return " ".join(
        f"{name}{'!' if attribute.required else ''}:{ATTRIBUTES.get(attribute.type.name, 'x')}"
        for name, attribute in sorted(schema.attributes.items())
    )


def line_of(schema):
    if schema.deprecated and (schema.name, schema.since_version) not in STILL_RUN:
        return f"{schema.since_version}|deprecated"
    last = "*" if schema.max_output > 1000 else str(schema.max_output)
    outputs = last if last == str(schema.min_output) else f"{schema.min_output}-{last}"
    return f"{schema.since_version}|{inputs_of(schema)}|{outputs}|{attributes_of(schema)}"


def versions_of(name):
    every = [s for s in defs.get_all_schemas_with_history() if s.domain == "" and s.name == name]
    every = sorted((s for s in every if s.since_version <= NEWEST), key=lambda s: s.since_version)
    old = [s for s in every if s.since_version <= OLDEST][-1:]
    return old + [s for s in every if s.since_version > OLDEST]


names = sorted({*re.findall(r"^  (\w+): \[", SCHEMAS.read_text(), re.MULTILINE), *sys.argv[1:]})
lines = {name: [line_of(schema) for schema in versions_of(name)] for name in names}

text = [
    "// ONNX's schemas of the operators that are read, opsets 7 to 25: what a file of an opset may say.",
    f"// Written by scripts/write-schemas.py with onnx {__version__}.",
    "",
    "/** Sets of element types, which `schemas` names by their index. */",
    "export const typeSets: readonly string[] = [",
    *(f'  "{key}",' for key in type_sets),
    "];",
    "",
    "/**",
    " * Of each operator its versions: since which opset | inputs | outputs | attributes. An input is the name that ties it to",
    " * others of one element type, if any, its set of types, and `?` or `*` where it may be left out or repeated; an attribute",
    " * is its name, `!` where it is required, and its kind: f, i, s, t for a float, an integer, a string, a tensor, capitals",
    " * for lists.",
    " */",
    "export const schemas: Readonly<Record<string, readonly string[]>> = {",
]
for name, versions in lines.items():
    text += [f"  {name}: [", *(f'    "{version}",' for version in versions), "  ],"]
text += ["};", ""]
SCHEMAS.write_text("\n".join(text))

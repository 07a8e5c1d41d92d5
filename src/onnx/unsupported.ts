// Which nodes of a file cannot be handled: all of them, grouped by operator.
import type { GraphProto, NodeProto } from "onnx-buf";
import { isOpType, isOwn } from "../ops/index.ts";
import { upgradedOps } from "./upgrade/index.ts";

const controlFlow: ReadonlySet<string> = new Set(["If", "Loop", "Scan", "SequenceMap"]);
const maxShown = 3;

/** Whether files may have the operator. */
export const isRead = (op: string): boolean => op === "Constant" || (isOpType(op) && !isOwn(op)) || upgradedOps.has(op);

/** `Foo (nodes "a", "b" and 3 more): unknown operator`, one line per operator. */
export function findUnsupportedNodes(graph: GraphProto): string[] {
  const nodesByOp = new Map<string, NodeProto[]>();
  for (const node of graph.node) {
    const op = node.domain === "" || node.domain === "ai.onnx" ? node.opType : `${node.domain}::${node.opType}`;
    if (isRead(op)) continue;
    const nodes = nodesByOp.get(op) ?? [];
    nodes.push(node);
    nodesByOp.set(op, nodes);
  }
  return [...nodesByOp].map(([op, nodes]) => `${op} (${nodeList(nodes)}): ${reason(op)}`);
}

function reason(op: string): string {
  if (op === "If") return "control flow is not handled but where the file states the condition";
  if (op === "Loop")
    return "control flow is not handled but where the file states how often it runs, and that comes to no more than 20,000 nodes";
  if (controlFlow.has(op)) return "control flow is not handled";
  if (/Sequence|Optional/.test(op)) return "sequences and optional values are not handled";
  if (/^com\.(microsoft|ms)\b/.test(op))
    return "an operator of ONNX Runtime alone, as its optimizations write them: give the file from before optimization";
  return "unknown operator";
}

function nodeList(nodes: readonly NodeProto[]): string {
  const names = nodes.slice(0, maxShown).map(({ name, output }) => `"${name || (output[0] ?? "")}"`);
  const rest = nodes.length - names.length;
  const list = names.join(", ") + (rest > 0 ? ` and ${rest} more` : "");
  return nodes.length === 1 ? `node ${list}` : `nodes ${list}`;
}

// Which parameters of a graph train, and how, by their roles.
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { type Parameter, type ParameterRole, parametersOf } from "./parameters.ts";
import type { TrainedParameter, UpdateRule } from "./step.ts";

/** How parameters of a role train. */
export interface RoleTraining {
  /** The input that holds their learning rate. */
  readonly learningRate: string;
  readonly ruleOf: (parameter: Parameter, start: Tensor) => UpdateRule;
  /** Whether `clipNorm` is of their gradients too. */
  readonly isClipped: boolean;
}

/** The parameters of the roles given, whole; roles that are left out do not train. */
export function trainedByRole(
  graph: Graph,
  roles: Partial<Readonly<Record<ParameterRole, RoleTraining>>>,
): readonly TrainedParameter[] {
  return parametersOf(graph).flatMap((parameter): readonly TrainedParameter[] => {
    const training = roles[parameter.role];
    if (!training) return [];
    const start = graph.constants.get(parameter.name);
    assert(start, `parameter "${parameter.name}" has no value`);
    const { learningRate, ruleOf, isClipped } = training;
    return [{ name: parameter.name, rule: ruleOf(parameter, start), learningRate, trains: "all", isClipped }];
  });
}

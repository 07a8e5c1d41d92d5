// An engine that compiles steps of one structure once: what sets them apart is bound anew. What is not a step may be faster with
// its numbers known.
import type { CompileOptions, Engine, Executable, Program, Variables } from "../engines/engine.ts";
import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import type { Context } from "../run/context.ts";
import { type SharedForm, sharedForm } from "./shared-form.ts";

/** Calls `use` with a context whose engine compiles steps of one structure once. */
export async function withSharedPlans<T>(context: Context, use: (sharing: Context) => Promise<T>): Promise<T> {
  const plans: Plans = new Map();
  try {
    return await use({ ...context, engine: sharingEngine(context.engine, plans) });
  } finally {
    for (const { executable } of plans.values()) await executable.dispose();
  }
}

/** By structure and options; the one given back last is the last. */
type Plans = Map<string, Plan>;

/** What plans that nobody uses at the moment may hold; the one used last is kept whatever it holds. */
const idleBytes = 128 * 2 ** 20;
const idlePlans = 16;

interface Plan {
  readonly executable: Executable;
  users: number;
}

function sharingEngine(engine: Engine, plans: Plans): Engine {
  const compile = async (graph: Graph, options: CompileOptions = {}): Promise<Executable> => {
    const isStep = graph.updates.size > 0;
    if (!isStep || !graph.nodes.every((node) => engine.supports(node, graph)))
      return compileAlone(engine, graph, options);
    const form = sharedForm(graph, engine);
    const key = JSON.stringify([options, form.key]);
    const plan = plans.get(key) ?? { executable: await engine.compile(form.graph, options), users: 0 };
    plans.set(key, plan);
    plan.users++;
    return handleOf(plan.executable, form, async () => {
      plan.users--;
      plans.delete(key);
      plans.set(key, plan);
      await trim(plans);
    });
  };
  return {
    name: engine.name,
    get precisions() {
      return engine.precisions;
    },
    supports: (node, graph) => engine.supports(node, graph),
    compile,
    variables: async (initial) => createShared(await engine.variables(initial)),
  };
}

/** With its numbers known; a refusal names nodes as the graph does. */
async function compileAlone(engine: Engine, graph: Graph, options: CompileOptions): Promise<Executable> {
  const executable = await engine.compile(graph, options);
  return { ...executable, bind: (variables) => executable.bind((variables as SharedVariables).inner) };
}

async function trim(plans: Plans): Promise<void> {
  const idle = [...plans].filter(([, { users }]) => users === 0).reverse();
  let bytes = 0;
  for (const [place, [key, { executable }]] of idle.entries()) {
    bytes += executable.memoryBytes ?? 0;
    if (place === 0 || (bytes <= idleBytes && place < idlePlans)) continue;
    plans.delete(key);
    await executable.dispose();
  }
}

/** Variables, and beside them constants of the graphs that are bound to them. */
interface SharedVariables extends Variables {
  readonly inner: Variables;
  readonly constants: Set<string>;
}

function createShared(inner: Variables): SharedVariables {
  const constants = new Set<string>();
  return {
    inner,
    constants,
    names: () => inner.names().filter((name) => !constants.has(name)),
    read: (name) => inner.read(name),
    write: (name, value) => inner.write(name, value),
    add: (initial) => inner.add(initial),
    dispose: () => inner.dispose(),
  };
}

function handleOf(executable: Executable, form: SharedForm, giveBack: () => Promise<void>): Executable {
  let isDisposed = false;
  return {
    ...(executable.memoryBytes === undefined ? {} : { memoryBytes: executable.memoryBytes }),
    ...(executable.runsSeries ? { runsSeries: true } : {}),
    bind: (variables) => programOf(executable, form, variables as SharedVariables),
    dispose: async () => {
      if (isDisposed) return;
      isDisposed = true;
      await giveBack();
    },
  };
}

function programOf(executable: Executable, form: SharedForm, variables: SharedVariables): Program {
  const { names, own } = form;
  const nameOf = (name: string): string => names.get(name) ?? name;
  let bound: Promise<Program> | undefined;
  const bind = async (): Promise<Program> => {
    const { inner, constants } = variables;
    const place = constants.size;
    const places = new Map(form.constants.map(([name], i) => [name, `constant ${place + i}`]));
    for (const name of places.values()) constants.add(name);
    await inner.add(new Map(form.constants.map(([name, value]) => [places.get(name) ?? name, value])));
    return executable.bind(inner, new Map([...form.variables, ...places]));
  };
  const named = (values: ReadonlyMap<string, Tensor>): ReadonlyMap<string, Tensor> =>
    new Map([...values].map(([name, value]) => [nameOf(name), value]));
  const program = (): Promise<Program> => {
    bound ??= bind();
    return bound;
  };
  const renamed = (outputs: ReadonlyMap<string, Tensor>): ReadonlyMap<string, Tensor> =>
    new Map([...outputs].map(([name, value]) => [own.get(name) ?? name, value]));
  return {
    run: async (inputs, { fetch, spare, ...options } = {}) => {
      const outputs = await (await program()).run(named(inputs), {
        ...options,
        ...(fetch ? { fetch: fetch.map(nameOf) } : {}),
        ...(spare ? { spare: new Map([...spare].map(([name, data]) => [nameOf(name), data])) } : {}),
      });
      return renamed(outputs);
    },
    ...(executable.runsSeries
      ? {
          runSeries: async (inputs, fetch) => {
            const { runSeries } = await program();
            assert(runSeries, "a program lacks what its executable has");
            return renamed(await runSeries(named(inputs), fetch.map(nameOf)));
          },
        }
      : {}),
  };
}

// What both TypeScript client programs do: take an order, do it, print one JSON line; until stdin ends.
// The protocol is the one of repl.py.
import { createInterface } from "node:readline";

const say = (answer) => process.stdout.write(JSON.stringify(answer) + "\n");

/** Serve orders with a client made by `connect(target)`. */
export async function run(connect) {
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const target = JSON.parse((await lines.next()).value);
  const client = await connect(target);
  say({ ready: true });
  for (let line = await lines.next(); !line.done; line = await lines.next()) {
    const order = JSON.parse(line.value);
    try {
      if (order.list) say({ tools: (await client.listTools()).tools.map((tool) => tool.name) });
      else say({ result: await client.callTool({ name: order.call, arguments: order.arguments ?? {} }) });
    } catch (problem) {
      say({ error: { code: problem.code ?? null, message: String(problem.message ?? problem) } });
    }
  }
  await client.close();
  process.exit(0);
}

/** Import a file of the kit's installed packages; this script does not live beside them. */
export const installed = (path) => import(`${process.env.HOLDSHORT_NODE_MODULES}/@modelcontextprotocol/${path}`);

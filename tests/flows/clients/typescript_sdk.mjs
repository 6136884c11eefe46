// The TypeScript SDK's first major version: the older era only, and a minute of patience.
import { installed, run } from "./repl.mjs";

const { Client } = await installed("sdk/dist/esm/client/index.js");
const { StdioClientTransport } = await installed("sdk/dist/esm/client/stdio.js");
const { StreamableHTTPClientTransport } = await installed("sdk/dist/esm/client/streamableHttp.js");

await run(async (target) => {
  const client = new Client({ name: "holdshort-flow", version: "1" });
  const [command, ...args] = target.command ?? [];
  const transport = target.command
    ? new StdioClientTransport({ command, args, env: { ...process.env, ...target.env } })
    : new StreamableHTTPClientTransport(new URL(target.url), { requestInit: { headers: target.headers } });
  await client.connect(transport);
  return client;
});

// The TypeScript client of the second major version, in either era.
import { installed, run } from "./repl.mjs";

const { Client, StreamableHTTPClientTransport } = await installed("client/dist/index.mjs");
const { StdioClientTransport } = await installed("client/dist/stdio.mjs");

await run(async (target) => {
  const options = target.era === "modern" ? { versionNegotiation: { mode: "auto" } } : {};
  const client = new Client({ name: "holdshort-flow", version: "1" }, options);
  const [command, ...args] = target.command ?? [];
  const transport = target.command
    ? new StdioClientTransport({ command, args, env: { ...process.env, ...target.env } })
    : new StreamableHTTPClientTransport(new URL(target.url), { requestInit: { headers: target.headers } });
  await client.connect(transport);
  return client;
});

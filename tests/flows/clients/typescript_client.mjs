// The TypeScript client of the second major version, in either era.
import { installed, run } from "./repl.mjs";

const { Client, StreamableHTTPClientTransport } = await installed("client/dist/index.mjs");
const { StdioClientTransport } = await installed("client/dist/stdio.mjs");

await run(async (target) => {
  const options = target.era === "modern" ? { versionNegotiation: { mode: "auto" } } : {};
  if (target.manner === "asked") options.capabilities = { elicitation: { form: {}, url: {} } };
  const client = new Client({ name: "holdshort-flow", version: "1" }, options);
  // Says yes to everything, as a careless client would: that must never be the approval.
  if (target.manner === "asked") client.setRequestHandler("elicitation/create", async () => ({ action: "accept" }));
  const [command, ...args] = target.command ?? [];
  const transport = target.command
    ? new StdioClientTransport({ command, args, env: { ...process.env, ...target.env } })
    : new StreamableHTTPClientTransport(new URL(target.url), { requestInit: { headers: target.headers } });
  await client.connect(transport);
  return client;
});

// An agent in TypeScript's own client: its call waits for a person, and is made again until it is settled.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const client = new Client({ name: "example", version: "1.0.0" });
await client.connect(new StreamableHTTPClientTransport(new URL("http://127.0.0.1:7411/mcp/clock")));

let said = "";
for (;;) {
  const result = await client.callTool({ name: "get_current_time", arguments: { timezone: "Europe/Madrid" } });
  const text = result.content.map((block) => block.text).join("\n");
  if (text !== said) console.log((said = text));
  if (!["pending", "approved"].includes(result._meta?.["holdshort/interruption"]?.state)) break;
}
await client.close();

// Clients of the official SDKs, of both generations, against one endpoint: `node clients.mjs URL [SSE-URL]`.
import assert from "node:assert/strict";

import * as V2 from "@modelcontextprotocol/client";
import { Client as V1 } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const [url, sse] = process.argv.slice(2);
const info = { name: "outside", version: "1" };
const named = (tools, name) => tools.find((it) => it.name === name || it.name.endsWith(`_${name}`))?.name;

async function use(client, label) {
  const { tools } = await client.listTools();
  const simple = named(tools, "test_simple_text");
  const result = await client.callTool({ name: simple, arguments: {} });
  assert.match(result.content[0].text, /simple text/);
  const { resources } = await client.listResources();
  const text = resources.find((it) => it.uri.endsWith("test://static-text"));
  const read = await client.readResource({ uri: text.uri });
  assert.match(read.contents[0].text, /static text/);
  const steps = [];
  const progress = named(tools, "test_tool_with_progress");
  const options = { onprogress: (it) => steps.push(it.progress) };
  const call = { name: progress, arguments: {} };
  await (label.startsWith("v1") ? client.callTool(call, undefined, options) : client.callTool(call, options));
  assert.deepEqual(steps, [0, 50, 100]);
  console.log(`ok ${label}: ${tools.length} tools`);
  return tools;
}

async function v1(transport, label) {
  const client = new V1(info, { capabilities: { elicitation: {} } });
  client.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: { name: "Ada", response: "yes" } }));
  await client.connect(transport);
  const tools = await use(client, label);
  const asks = named(tools, "test_input_required_result_elicitation") ?? named(tools, "test_elicitation");
  const asked = await client.callTool({ name: asks, arguments: { message: "?" } });
  assert.match(asked.content[0].text, /Ada|accept/);
  console.log(`ok ${label}: asked and answered`);
  await client.close();
}

async function v2(label, mode) {
  const client = new V2.Client(info, { capabilities: { elicitation: {} }, versionNegotiation: { mode } });
  client.setRequestHandler("elicitation/create", () => ({ action: "accept", content: { name: "Ada", response: "yes" } }));
  await client.connect(new V2.StreamableHTTPClientTransport(new URL(url)));
  const tools = await use(client, label);
  const asks = named(tools, "test_input_required_result_elicitation") ?? named(tools, "test_elicitation");
  const asked = await client.callTool({ name: asks, arguments: { message: "?" } });
  assert.match(asked.content[0].text, /Ada|accept/);
  console.log(`ok ${label}: ${client.getNegotiatedProtocolVersion?.() ?? ""} asked and answered`);
  await client.close();
}

await v1(new StreamableHTTPClientTransport(new URL(url)), "v1 streamable");
if (sse) await v1(new SSEClientTransport(new URL(sse)), "v1 sse");
await v2("v2 legacy", "legacy");
await v2("v2 auto", "auto");
process.exit(0);

// A server of the revisions with sessions, on the official SDK: `node elder.mjs PORT`.
import { randomUUID } from "node:crypto";
import http from "node:http";

import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import * as T from "@modelcontextprotocol/sdk/types.js";

import * as C from "./content.mjs";

const tools = {
  ...C.plain,
  async test_tool_with_logging(_, extra) {
    for (const data of C.LOGS) {
      await extra.sendNotification({ method: "notifications/message", params: { level: "info", data } });
      await C.pause(50);
    }
    return C.said("logged");
  },
  async test_tool_with_progress(_, extra) {
    const progressToken = extra._meta?.progressToken ?? 0;
    for (const progress of C.STEPS) {
      const params = { progressToken, progress, total: 100, message: `Completed step ${progress} of 100` };
      await extra.sendNotification({ method: "notifications/progress", params });
      await C.pause(50);
    }
    return C.said(String(progressToken));
  },
  async test_sampling(given, extra) {
    const messages = [{ role: "user", content: C.text(given.prompt ?? "") }];
    const request = { method: "sampling/createMessage", params: { messages, maxTokens: 100 } };
    const result = await extra.sendRequest(request, T.CreateMessageResultSchema);
    return C.said(`LLM response: ${result.content.text ?? ""}`);
  },
  test_elicitation: (given, extra) => elicit(extra, { message: given.message ?? "", ...C.asked.response }, "User response"),
  test_elicitation_sep1034_defaults: (_, extra) => elicit(extra, C.asked.defaults, "Elicitation completed"),
  test_elicitation_sep1330_enums: (_, extra) => elicit(extra, C.asked.enums, "Elicitation completed"),
  test_reconnection: () => C.said("Reconnection test completed successfully."),
};

async function elicit(extra, params, begins) {
  const result = await extra.sendRequest({ method: "elicitation/create", params }, T.ElicitResultSchema);
  return C.said(`${begins}: action=${result.action}, content=${JSON.stringify(result.content ?? {})}`);
}

function server() {
  const capabilities = {
    tools: { listChanged: true },
    resources: { subscribe: true, listChanged: true },
    prompts: { listChanged: true },
    logging: {},
    completions: {},
  };
  const it = new Server({ name: "elder", version: "1.0.0" }, { capabilities });
  const on = (schema, handler) => it.setRequestHandler(schema, handler);
  on(T.ListToolsRequestSchema, () => ({ tools: Object.keys(tools).map(C.tool) }));
  on(T.CallToolRequestSchema, (request, extra) => {
    const call = tools[request.params.name];
    if (!call) throw new T.McpError(-32602, "Unknown tool");
    return call(request.params.arguments ?? {}, extra);
  });
  on(T.ListResourcesRequestSchema, () => ({ resources: C.resources }));
  on(T.ListResourceTemplatesRequestSchema, () => ({ resourceTemplates: C.templates }));
  on(T.ReadResourceRequestSchema, (request) => {
    const content = C.read(request.params.uri);
    if (!content) throw new T.McpError(-32002, "Resource not found");
    return { contents: [content] };
  });
  for (const schema of [T.SubscribeRequestSchema, T.UnsubscribeRequestSchema, T.SetLevelRequestSchema]) on(schema, () => ({}));
  on(T.CompleteRequestSchema, () => C.completion);
  on(T.ListPromptsRequestSchema, () => ({ prompts: C.prompts }));
  on(T.GetPromptRequestSchema, (request) => {
    const found = C.prompt(request.params.name, request.params.arguments);
    if (!found) throw new T.McpError(-32602, "Unknown prompt");
    return found;
  });
  return it;
}

const sessions = new Map();
http
  .createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    if (!C.isLocal(request)) return response.writeHead(403).end();
    const id = request.headers["mcp-session-id"];
    let transport = id && sessions.get(id);
    if (id && !transport) return response.writeHead(404).end();
    if (!transport) {
      const began = (session) => sessions.set(session, transport);
      const ended = (session) => sessions.delete(session);
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        onsessioninitialized: began,
        onsessionclosed: ended,
      });
      await server().connect(transport);
    }
    await transport.handleRequest(request, response, body ? JSON.parse(body) : undefined);
  })
  .listen(Number(process.argv[2] ?? 0), "127.0.0.1", function () {
    console.log(this.address().port);
  });

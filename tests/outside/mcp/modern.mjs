// A server of the revision without sessions, on the official SDK: `node modern.mjs PORT`. It knows no other, or, with `both`
// behind the port, also elder ones, without sessions.
import http from "node:http";

import { toNodeHandler } from "@modelcontextprotocol/node";
import * as S from "@modelcontextprotocol/server";

import * as C from "./content.mjs";

const CAPABILITIES = S.CLIENT_CAPABILITIES_META_KEY;
const codec = S.createRequestStateCodec({ key: new Uint8Array(32).fill(7), ttlSeconds: 600 });
const sampling = (it, maxTokens = 100) =>
  S.inputRequired.createMessage({ messages: [{ role: "user", content: C.text(it) }], maxTokens });
const confirm = { message: "Please confirm", requestedSchema: { type: "object", properties: { ok: { type: "boolean" } }, required: ["ok"] } };
const form = (message, key) => ({ message, requestedSchema: { type: "object", properties: { [key]: { type: "string" } }, required: [key] } });
const brought = (ctx, key) => ctx.mcpReq.inputResponses?.[key];
const ask = (inputRequests, requestState) => S.inputRequired(requestState ? { inputRequests, requestState } : { inputRequests });

function elicited(ctx, params, begins) {
  const answer = brought(ctx, "form");
  if (!answer) return ask({ form: S.inputRequired.elicit(params) });
  return C.said(`${begins}: action=${answer.action}, content=${JSON.stringify(answer.content ?? {})}`);
}

const tools = {
  ...C.plain,
  async test_tool_with_progress(_, ctx) {
    const progressToken = ctx.mcpReq._meta?.progressToken ?? 0;
    for (const progress of C.STEPS) {
      const params = { progressToken, progress, total: 100, message: `Completed step ${progress} of 100` };
      await ctx.mcpReq.notify({ method: "notifications/progress", params });
      await C.pause(50);
    }
    return C.said(String(progressToken));
  },
  async test_tool_with_logging(_, ctx) {
    for (const data of C.LOGS) {
      await ctx.mcpReq.log("info", data);
      await C.pause(50);
    }
    return C.said("logged");
  },
  test_sampling(given, ctx) {
    const answer = brought(ctx, "model");
    return answer ? C.said(`LLM response: ${answer.content?.text ?? ""}`) : ask({ model: sampling(given.prompt ?? "") });
  },
  test_elicitation: (given, ctx) => elicited(ctx, { message: given.message ?? "", ...C.asked.response }, "User response"),
  test_elicitation_sep1034_defaults: (_, ctx) => elicited(ctx, C.asked.defaults, "Elicitation completed"),
  test_elicitation_sep1330_enums: (_, ctx) => elicited(ctx, C.asked.enums, "Elicitation completed"),
  async test_logging_tool(_, ctx) {
    await ctx.mcpReq.log("info", "Tool execution started");
    return C.said("logged");
  },
  test_header_tool: (given) => C.said(`region ${given.region ?? "none"}`),
  test_missing_capability(_, ctx) {
    return ask({ question: sampling("What is missing?") });
  },
  test_streaming_elicitation: () => ask({ user_name: S.inputRequired.elicit(C.asked.name) }),
  test_input_required_result_elicitation(_, ctx) {
    const answer = brought(ctx, "user_name");
    if (typeof answer?.content?.name !== "string") return ask({ user_name: S.inputRequired.elicit(C.asked.name) });
    return C.said(`Hello, ${answer.content.name}!`);
  },
  test_input_required_result_sampling(_, ctx) {
    const answer = brought(ctx, "capital_question");
    if (!answer) return ask({ capital_question: sampling("What is the capital of France?") });
    return C.said(`The model says: ${answer.content?.text ?? JSON.stringify(answer)}`);
  },
  test_input_required_result_list_roots(_, ctx) {
    const answer = brought(ctx, "client_roots");
    if (!answer) return ask({ client_roots: S.inputRequired.listRoots() });
    return C.said(`Roots: ${(answer.roots ?? []).map((it) => it.uri).join(", ")}`);
  },
  async test_input_required_result_request_state(_, ctx) {
    if (!brought(ctx, "confirm")) return ask({ confirm: S.inputRequired.elicit(confirm) }, await codec.mint({ step: 1 }));
    return C.said(ctx.mcpReq.requestState()?.step === 1 ? "state-ok" : "state-lost");
  },
  async test_input_required_result_multiple_inputs(_, ctx) {
    if (!["user_name", "greeting", "client_roots"].every((it) => brought(ctx, it))) {
      const requests = {
        user_name: S.inputRequired.elicit(C.asked.name),
        greeting: sampling("Generate a greeting", 50),
        client_roots: S.inputRequired.listRoots(),
      };
      return ask(requests, await codec.mint({ step: 1 }));
    }
    return C.said("all there");
  },
  async test_input_required_result_multi_round(_, ctx) {
    const step = ctx.mcpReq.requestState()?.step ?? 0;
    if (step === 0) {
      return ask({ step1: S.inputRequired.elicit(form("Step 1: What is your name?", "name")) }, await codec.mint({ step: 1 }));
    }
    if (step === 1) {
      return ask({ step2: S.inputRequired.elicit(form("Step 2: What is your favorite color?", "color")) }, await codec.mint({ step: 2 }));
    }
    return C.said("three rounds");
  },
  async test_input_required_result_tampered_state(_, ctx) {
    if (!brought(ctx, "confirm")) return ask({ confirm: S.inputRequired.elicit(confirm) }, await codec.mint({ step: 1 }));
    return C.said("untouched");
  },
  test_input_required_result_capabilities(_, ctx) {
    const can = ctx.mcpReq.envelope?.[CAPABILITIES] ?? {};
    const requests = {};
    if (can.sampling) requests.question = sampling("What do you say?");
    if (can.elicitation) requests.user_name = S.inputRequired.elicit(C.asked.name);
    return Object.keys(requests).length ? ask(requests) : C.said("nothing can be asked");
  },
  test_trigger_tool_change() {
    handler.notify.toolsChanged();
    return C.said("changed");
  },
  test_trigger_prompt_change() {
    handler.notify.promptsChanged();
    return C.said("changed");
  },
};

function server() {
  const capabilities = {
    tools: { listChanged: true },
    resources: { subscribe: true, listChanged: true },
    prompts: { listChanged: true },
    logging: {},
    completions: {},
  };
  const it = new S.Server({ name: "modern", version: "1.0.0" }, { capabilities, requestState: { verify: codec.verify } });
  const on = (method, handler) => it.setRequestHandler(method, handler);
  on("tools/list", () => ({ tools: Object.keys(tools).map(C.tool) }));
  on("tools/call", (request, ctx) => {
    const call = tools[request.params.name];
    if (!call) throw new S.ProtocolError(-32602, "Unknown tool");
    return call(request.params.arguments ?? {}, ctx);
  });
  on("resources/list", () => ({ resources: C.resources }));
  on("resources/templates/list", () => ({ resourceTemplates: C.templates }));
  on("resources/read", (request) => {
    const content = C.read(request.params.uri);
    if (!content) throw new S.ResourceNotFoundError(request.params.uri);
    return { contents: [content] };
  });
  on("completion/complete", () => C.completion);
  const needsInput = { name: "test_input_required_result_prompt", description: "input" };
  on("prompts/list", () => ({ prompts: [...C.prompts, needsInput] }));
  on("prompts/get", (request, ctx) => {
    if (request.params.name === needsInput.name) {
      if (brought(ctx, "user_context")) return C.prompt("test_simple_prompt");
      return ask({ user_context: S.inputRequired.elicit(form("What context should the prompt use?", "context")) });
    }
    const found = C.prompt(request.params.name, request.params.arguments);
    if (!found) throw new S.ProtocolError(-32602, "Unknown prompt");
    return found;
  });
  return it;
}

const handler = S.createMcpHandler(server, { legacy: process.argv[3] === "both" ? "stateless" : "reject" });
const serve = toNodeHandler(handler);
http
  .createServer((request, response) => {
    if (!C.isLocal(request)) return response.writeHead(403).end();
    return serve(request, response);
  })
  .listen(Number(process.argv[2] ?? 0), "127.0.0.1", function () {
    console.log(this.address().port);
  });

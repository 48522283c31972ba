// What both servers offer: the tools, prompts and resources that the conformance runner asks for, as plain values.
export const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=";
export const text = (it) => ({ type: "text", text: it });
export const said = (it) => ({ content: [text(it)] });
const resource = (uri, mimeType, it) => ({ type: "resource", resource: { uri, mimeType, text: it } });
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));
export const STEPS = [0, 50, 100];
export const LOGS = ["Tool execution started", "Tool processing data", "Tool execution completed"];

// Tools that need nothing of the request.
export const plain = {
  test_simple_text: () => said("This is a simple text response for testing."),
  test_image_content: () => ({ content: [{ type: "image", data: PNG, mimeType: "image/png" }] }),
  test_audio_content: () => ({ content: [{ type: "audio", data: WAV, mimeType: "audio/wav" }] }),
  test_embedded_resource: () => ({
    content: [resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")],
  }),
  test_multiple_content_types: () => ({
    content: [
      text("Multiple content types test:"),
      { type: "image", data: PNG, mimeType: "image/png" },
      resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ],
  }),
  test_error_handling: () => ({
    isError: true,
    content: [text("This tool intentionally returns an error for testing")],
  }),
  json_schema_2020_12_tool: () => said("ok"),
};

const object = (properties, required = []) => ({ type: "object", properties, required });
const name = { type: "string" };
export const schemas = {
  json_schema_2020_12_tool: {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    type: "object",
    $defs: {
      address: { $anchor: "addressDef", type: "object", properties: { street: name, city: name } },
    },
    properties: {
      name,
      address: { $ref: "#/$defs/address" },
      contactMethod: { type: "string", enum: ["phone", "email"] },
      phone: name,
      email: name,
    },
    allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
    if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
    then: { required: ["phone"] },
    else: { required: ["email"] },
    additionalProperties: false,
  },
  test_header_tool: object({ region: { type: "string", "x-mcp-header": "Region" } }),
};
export const tool = (it) => ({
  name: it,
  description: it.replaceAll("_", " "),
  inputSchema: schemas[it] ?? object({}),
});

export const asked = {
  name: { message: "What is your name?", requestedSchema: object({ name }, ["name"]) },
  response: { requestedSchema: object({ response: { type: "string", description: "User's response" } }, ["response"]) },
  defaults: {
    message: "Please review and update the form fields with defaults",
    requestedSchema: object({
      name: { type: "string", default: "John Doe" },
      age: { type: "integer", default: 30 },
      score: { type: "number", default: 95.5 },
      status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
      verified: { type: "boolean", default: true },
    }),
  },
  enums: {
    message: "Please select options from the enum fields",
    requestedSchema: object({
      untitledSingle: { type: "string", enum: ["option1", "option2", "option3"] },
      titledSingle: { type: "string", oneOf: ["1", "2", "3"].map((it) => ({ const: `value${it}`, title: `Option ${it}` })) },
      legacyEnum: { type: "string", enum: ["opt1", "opt2", "opt3"], enumNames: ["One", "Two", "Three"] },
      untitledMulti: { type: "array", items: { type: "string", enum: ["option1", "option2", "option3"] } },
      titledMulti: { type: "array", items: { anyOf: ["1", "2", "3"].map((it) => ({ const: `value${it}`, title: `Choice ${it}` })) } },
    }),
  },
};

export const resources = [
  { uri: "test://static-text", name: "text", mimeType: "text/plain" },
  { uri: "test://static-binary", name: "binary", mimeType: "image/png" },
  { uri: "test://watched-resource", name: "watched", mimeType: "text/plain" },
];
export const templates = [{ uriTemplate: "test://template/{id}/data", name: "template", mimeType: "application/json" }];
export function read(uri) {
  if (uri === "test://static-text") return { uri, mimeType: "text/plain", text: "This is the content of the static text resource." };
  if (uri === "test://static-binary") return { uri, mimeType: "image/png", blob: PNG };
  if (uri === "test://watched-resource") return { uri, mimeType: "text/plain", text: "watched" };
  const id = uri.match(/^test:\/\/template\/(.+)\/data$/)?.[1];
  const data = { id, templateTest: true, data: `Data for ID: ${id}` };
  return id && { uri, mimeType: "application/json", text: JSON.stringify(data) };
}

const argument = (it) => ({ name: it, description: it, required: true });
export const prompts = [
  { name: "test_simple_prompt", description: "simple" },
  { name: "test_prompt_with_arguments", description: "arguments", arguments: [argument("arg1"), argument("arg2")] },
  { name: "test_prompt_with_embedded_resource", description: "resource", arguments: [argument("resourceUri")] },
  { name: "test_prompt_with_image", description: "image" },
];
export function prompt(it, given = {}) {
  const user = (content) => ({ role: "user", content });
  const messages = {
    test_simple_prompt: () => [text("This is a simple prompt for testing.")],
    test_prompt_with_arguments: () => [text(`Prompt with arguments: arg1='${given.arg1}', arg2='${given.arg2}'`)],
    test_prompt_with_embedded_resource: () => [
      resource(given.resourceUri, "text/plain", "Embedded resource content for testing."),
      text("Please process the embedded resource above."),
    ],
    test_prompt_with_image: () => [
      { type: "image", data: PNG, mimeType: "image/png" },
      text("Please analyze the image above."),
    ],
  }[it];
  return messages && { messages: messages().map(user) };
}
export const completion = { completion: { values: ["paris", "park", "party"], total: 150, hasMore: false } };
// Only names of this machine, as the runner wants to see.
export function isLocal(request) {
  const host = (request.headers.host ?? "").replace(/:\d+$/, "");
  const local = /^(localhost|127\.0\.0\.1|\[::1\])$/;
  const origin = request.headers.origin;
  return local.test(host) && (!origin || local.test(new URL(origin).hostname));
}

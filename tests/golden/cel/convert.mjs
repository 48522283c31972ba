// Writes cases.jsonl from an unpacked @bufbuild/cel-spec: see README.md.
import { writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { tests } = await import(pathToFileURL(`${process.argv[2]}/dist/esm/testdata/conformance.js`));
const doubles = (key, value) => (key === "doubleValue" ? String(value) : value);
const lines = [];
for (const suite of tests.suites) {
  for (const section of suite.suites ?? [suite]) {
    for (const { original: it } of section.tests ?? []) {
      const messages = /cel\.expr\.conformance|google\.protobuf|TestAllTypes/.test(JSON.stringify(it));
      const group = section === suite ? suite.name : `${suite.name}/${section.name}`;
      const out = { group, name: it.name, expr: it.expr };
      if (it.bindings) out.bindings = Object.fromEntries(Object.entries(it.bindings).map(([k, v]) => [k, v.value]));
      const names = (it.typeEnv ?? []).filter((decl) => decl.ident).map((decl) => decl.name);
      if (names.length) out.names = names;
      if (it.container) out.container = it.container;
      if (it.disableCheck) out.unchecked = true;
      if (it.checkOnly) out.check_only = true;
      if (it.evalError) out.error = true;
      // Doubles as text: not every JSON reader gives back the same bits.
      else out.value = it.value ?? it.typedResult?.result ?? { boolValue: true };
      if (messages) out.messages = true;
      lines.push(JSON.stringify(out, doubles));
    }
  }
}
writeFileSync("cases.jsonl", lines.join("\n") + "\n");

"""A gateway and its mock provider, for as long as a check of language models takes; and providers of one dialect each."""

import contextlib
import json
import pathlib
import subprocess
import tempfile
import time

PATIENCE = 20
PROVIDERS = {
    "chat": "{ type: completions }",
    "responses": "{ type: responses }",
    "messages": "{ type: messages }",
    "gemini": '{ type: generateContent, path: "/v1beta/models/{model}:{action}" }',
    "converse": '{ type: converse, path: "/model/{model}/{action}" }',
}
GATEWAY = """
config:
  adminAddr: unix:FOLDER/admin.sock
  statsAddr: 127.0.0.1:0
  readinessAddr: 127.0.0.1:0
  logging: { format: json }
llm:
  port: 0
  models:
"""
MODEL = """
  - name: "on-PROVIDER*"
    provider: { custom: { formats: [FORMAT] } }
    params: { baseUrl: "MOCK/v1", apiKey: held }
"""
SCRIPT = {
    "key": "held",
    "rules": [
        {"model": "*-fail", "status": 429},
        {"model": "*-think", "thinking": "hm", "cachedTokens": 2, "reasoningTokens": 3},
        {"model": "*-json", "text": '{"city": "Bern"}'},
        {"model": "*", "toolInput": {"city": "Bern \"x\"\n"}, "cachedTokens": 2},
    ],
}


def each(mock):
    """The document in which a model `on-X` is served by a provider that understands dialect X alone."""
    models = [MODEL.replace("PROVIDER", name).replace("FORMAT", it).replace("MOCK", mock) for name, it in PROVIDERS.items()]
    return GATEWAY + "".join(models)


def start(folder, binary, document):
    """The gateway, and the port that it says it listens on."""
    (folder / "config.yaml").write_text(document.replace("FOLDER", str(folder)))
    log = (folder / "log").open("w")
    process = subprocess.Popen([binary, "-f", folder / "config.yaml"], stdout=log, stderr=log)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for line in (folder / "log").read_text().splitlines():
            if "bind open" in line and '"llm"' in line:
                return process, int(json.loads(line)["address"].rsplit(":", 1)[1])
        time.sleep(0.02)
    process.kill()
    raise AssertionError("the gateway does not say where it listens:\n" + (folder / "log").read_text())


@contextlib.contextmanager
def running(binary, document, script):
    """Gives the folder of the gateway's log, and its URL. `document` gets the provider's; FOLDER in it is the folder."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        command = [binary, "mock-llm", "--address", "127.0.0.1:0", "--script", json.dumps(script)]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True)]
        try:
            mock = processes[0].stdout.readline().strip().rsplit(" ", 1)[1]
            gateway, port = start(folder, binary, document(mock))
            processes.append(gateway)
            yield folder, f"http://127.0.0.1:{port}"
        finally:
            for process in processes:
                process.kill()
                process.wait()


def accounts(folder):
    """What the access log says of requests, line by line."""
    lines = (folder / "log").read_text().splitlines()
    said = [json.loads(line) for line in lines if line.startswith("{")]
    return [it for it in said if it.get("scope") == "request"]

"""Each SDK of language models against providers that speak each of the other dialects, through a real gateway.

A model `on-X` is served by a provider that understands dialect X alone, so whoever asks for it in another dialect is
translated. Each scenario is one call as a user writes it; the table says which of them pass. Then the gateway's account of
every call is compared with what the SDK was told. Run it through `tests/outside/run llm-matrix`.
"""

import json
import pathlib
import subprocess
import sys
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


def start(folder, binary, mock):
    """The gateway, and the port that it says it listens on."""
    models = [MODEL.replace("PROVIDER", name).replace("FORMAT", it).replace("MOCK", mock) for name, it in PROVIDERS.items()]
    (folder / "config.yaml").write_text((GATEWAY + "".join(models)).replace("FOLDER", str(folder)))
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


def accounted(folder, before, used):
    """Whether a line of the log says the same as the SDK."""
    keys = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        lines = (folder / "log").read_text().splitlines()[before:]
        said = [json.loads(line) for line in lines if line.startswith("{")]
        if any(tuple(it.get(key) for key in keys) == used for it in said if it.get("scope") == "request"):
            return
        time.sleep(0.01)
    raise AssertionError(f"{used} used, and accounted: {lines}")


def main():
    from llm_clients import CLIENTS, SCENARIOS

    binary = sys.argv[1]
    failed, passed, table = [], 0, []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        command = [binary, "mock-llm", "--address", "127.0.0.1:0", "--script", json.dumps(SCRIPT)]
        mock = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        gateway, port = start(folder, binary, mock.stdout.readline().strip().rsplit(" ", 1)[1])
        try:
            for name, kind in CLIENTS.items():
                client = kind(f"http://127.0.0.1:{port}")
                row = []
                for provider in PROVIDERS:
                    good = 0
                    for scenario in SCENARIOS:
                        before = len((folder / "log").read_text().splitlines())
                        try:
                            used = getattr(client, scenario)(f"on-{provider}")
                            if used:
                                accounted(folder, before, used)
                            good += 1
                        except Exception as error:  # noqa: BLE001 (every scenario has its say)
                            failed.append(f"{name} on {provider}: {scenario}: {type(error).__name__} {error}"[:400])
                    passed += good
                    row.append(good)
                table.append((name, row))
        finally:
            for process in (gateway, mock):
                process.kill()
                process.wait()
    print("client \\ provider  " + "".join(f"{it:>11}" for it in PROVIDERS))
    for name, row in table:
        print(f"{name:<18} " + "".join(f"{f'{it}/{len(SCENARIOS)}':>11}" for it in row))
    for line in failed:
        print("  FAILED ", line)
    print(f"{passed} of {passed + len(failed)} scenarios pass")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

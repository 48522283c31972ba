"""Agents and clients on the SDKs of A2A 0.3 and 1.0 through the gateway: every pair of versions, every binding.

    agents.py BINARY FOLDER_OF_VENVS [CLIENT/AGENTS/BINDING...]

Two agents of each version stand behind one address each, so that what follows has to find the right one.
"""

import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

BINARY, VENVS = sys.argv[1], pathlib.Path(sys.argv[2])
HERE = pathlib.Path(__file__).parent / "a2a"
PATIENCE = 60
# Where news are received: the only address of this machine that they may go to.
RECEIVER = "127.0.0.9"


def port():
    """A port that was free a moment ago; other programs of the machine leave those alone."""
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def wait(number):
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", number), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def listener(number, agents):
    http = "".join(f"      - host: 127.0.0.1:{it}\n" for it, _ in agents)
    rpc = "".join(
        f"      - host: 127.0.0.1:{it}\n        policies: {{ http: {{ version: '2' }} }}\n" for _, it in agents
    )
    return f"""- port: {number}
  address: 127.0.0.1
  listeners:
  - routes:
    - name: grpc{number}
      matches: [{{ path: {{ pathPrefix: /lf.a2a.v1.A2AService }} }}, {{ path: {{ pathPrefix: /a2a.v1.A2AService }} }}]
      policies: {{ a2a: {{}} }}
      backends:
{rpc}    - name: http{number}
      matches: [{{ path: {{ pathPrefix: /agents/who }} }}]
      policies: {{ a2a: {{}}, urlRewrite: {{ path: {{ prefix: / }} }} }}
      backends:
{http}    - name: pushed{number}
      matches: [{{ path: {{ pathPrefix: /pushed/who }} }}]
      policies:
        a2a: {{ pushNotifications: relayed, relayUrl: 'http://127.0.0.1:{number}' }}
        urlRewrite: {{ path: {{ prefix: / }} }}
      backends:
{http}"""


def main():
    running = []
    try:
        versions = {}
        for version in ["v1", "v03"]:
            agents = [(port(), port()) for _ in range(2)]
            for number, (http, grpc) in enumerate(agents):
                python = VENVS / version / "bin/python"
                name = f"{version}-{number}"
                running.append(subprocess.Popen([python, HERE / f"{version}_agent.py", name, str(http), str(grpc)]))
            versions[version] = (port(), agents)
        admin, stats, ready = port(), port(), port()
        text = (
            f"config:\n  logging: {{ format: json }}\n  egressAllow: [{RECEIVER}]\n"
            f"  adminAddr: 127.0.0.1:{admin}\n  statsAddr: 127.0.0.1:{stats}\n  readinessAddr: 127.0.0.1:{ready}\n"
            "binds:\n" + "".join(listener(number, agents) for number, agents in versions.values())
        )
        folder = tempfile.mkdtemp()
        path = pathlib.Path(folder) / "config.yaml"
        path.write_text(text)
        log = open(pathlib.Path(folder) / "log", "w")
        environment = {**os.environ, "XDG_RUNTIME_DIR": folder}
        running.append(subprocess.Popen([BINARY, "-f", path], stdout=log, stderr=log, env=environment))
        for number, agents in versions.values():
            wait(number)
            for pair in agents:
                [wait(it) for it in pair]
        failed = 0
        for agent, (number, _) in versions.items():
            for client in ["v1", "v03"]:
                for binding in ["JSONRPC", "HTTP+JSON", "GRPC"]:
                    if sys.argv[3:] and f"{client}/{agent}/{binding}" not in sys.argv[3:]:
                        continue
                    base = f"http://127.0.0.1:{number}/agents/who"
                    python = VENVS / client / "bin/python"
                    asked = [python, HERE / f"{client}_client.py", base, binding]
                    # What nobody offers in the old version.
                    asked += ["list"] if agent == "v03" else []
                    done = subprocess.run(asked, timeout=300, capture_output=True, text=True)
                    outcome = "ok" if done.returncode == 0 else "FAILED"
                    print(f"{client} client, {agent} agents, {binding}: {outcome}", flush=True)
                    if done.returncode:
                        failed += 1
                        print("\n".join(done.stderr.splitlines()[-12:]))
        for agent, (number, _) in versions.items():
            for binding in ["JSONRPC", "HTTP+JSON"]:
                if sys.argv[3:] and f"pushed/{agent}/{binding}" not in sys.argv[3:]:
                    continue
                python = VENVS / "v1" / "bin/python"
                asked = [python, HERE / "v1_pushed.py", f"http://127.0.0.1:{number}/pushed/who", binding]
                asked += [f"{RECEIVER}:{port()}"]
                done = subprocess.run(asked, timeout=300, capture_output=True, text=True)
                print(f"{agent} agents push, {binding}: {done.stdout.strip() or 'FAILED'}", flush=True)
                if done.returncode:
                    failed += 1
                    print("\n".join(done.stderr.splitlines()[-12:]))
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{stats}/metrics").read().decode()
        counted = [it for it in metrics.splitlines() if it.startswith("agentgateway_a2a_requests_total")]
        print(f"{len(counted)} series of a2a_requests; log in {folder}")
        sys.exit(1 if failed else 0)
    finally:
        for it in running:
            it.terminate()
        for it in running:
            it.wait(20)


main()

"""A control plane and a client of another make: gRPC in Python and the public discovery messages.

`plane`: this program is the control plane of a real gateway. It adds, changes, breaks, repairs and removes one route
while requests go on, looks at the answers and at what the gateway refuses, and has the gateway replaced by a new
process, which must go on where the old one was.
`client`: `agentgateway xds serve` is the control plane, and this program one of its gateways.

Run it through `tests/outside/run`, which makes the messages; `tests/outside/run plane` runs one half.
"""

import contextlib
import http.client
import http.server
import json
import os
import pathlib
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent import futures

import grpc
from agentgateway.v1 import resource_pb2
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf import any_pb2

TYPE = "type.googleapis.com/agentgateway.v1.Resource"
PATIENCE = 30.0


def check(holds, what):
    if not holds:
        raise AssertionError(what)
    print(f"  ok  {what}", flush=True)


def until(hold, what):
    """Asks until the answer is true."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        answer = hold()
        if answer:
            return answer
        time.sleep(0.01)
    raise AssertionError(f"did not come: {what}")


# --- resources


def resource(kind, text):
    """A resource from JSON."""
    from google.protobuf import json_format

    return json_format.ParseDict({kind: text}, resource_pb2.Resource())


def bind():
    return {"bind/b": resource("bind", {"key": "b", "socket": "127.0.0.1:0"})}


def listener():
    gateway = {"namespace": "default", "name": "edge"}
    text = {"key": "b/l", "bind": "b", "gateway": gateway, "name": "l", "hostname": "*"}
    return {"listener/b/l": resource("listener", text)}


def route(key, path, backend):
    name = {"namespace": "default", "name": key}
    text = {
        "key": key,
        "name": name,
        "parents": [{"listener": "b/l"}],
        "matches": [{"path": path}],
        "backends": [{"backend": {"backend": backend}}],
    }
    return {f"route/{key}": resource("route", text)}


def group(key):
    return {f"route_group/{key}": resource("route_group", {"key": key})}


def backend(key, host):
    return {f"backend/{key}": resource("backend", {"key": key, "host": host})}


# --- this program as control plane


class Plane(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
    """Says to the one client what it is told to say, and remembers what that answers."""

    def __init__(self):
        self.says = queue.Queue()
        self.answers = queue.Queue()
        self.first = queue.Queue()
        self.nonce = 0
        self.sent = 0
        # Versions of what the client has taken.
        self.held = {}

    def DeltaAggregatedResources(self, requests, context):
        # Whoever comes last is spoken to.
        says = self.says = queue.Queue()

        def listen():
            with contextlib.suppress(grpc.RpcError):
                for request in requests:
                    (self.answers if request.response_nonce else self.first).put(request)

        threading.Thread(target=listen, daemon=True).start()
        while context.is_active():
            with contextlib.suppress(queue.Empty):
                yield says.get(timeout=0.1)

    def say(self, changed, removed=()):
        """Sends one response; gives what is refused, as `{name: reason}`."""
        self.nonce += 1
        response = discovery_pb2.DeltaDiscoveryResponse(
            type_url=TYPE, nonce=str(self.nonce), removed_resources=list(removed)
        )
        for name, content in changed.items():
            bytes_ = content if isinstance(content, bytes) else content.SerializeToString()
            wrapped = any_pb2.Any(type_url=TYPE, value=bytes_)
            response.resources.add(name=name, version=str(self.nonce), resource=wrapped)
        self.sent += response.ByteSize()
        self.says.put(response)
        answer = self.answers.get(timeout=PATIENCE)
        assert answer.response_nonce == str(self.nonce), "it answers what was not asked"
        refused = {}
        if answer.HasField("error_detail"):
            refused = {it["key"]: it["error"] for it in json.loads(answer.error_detail.message)}
        self.held |= {name: str(self.nonce) for name in changed if name not in refused}
        for name in removed:
            self.held.pop(name, None)
        return refused


class Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave together, at once.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self):
        body = self.server.word.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def upstream(word):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.word = word
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.0.1:{server.server_address[1]}"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self.path))


def ask(path, page):
    """The JSON of a page of the process's own server."""
    connection = UnixConnection(path)
    connection.request("GET", page)
    text = connection.getresponse().read()
    connection.close()
    return json.loads(text)


def curl(address, path):
    """Status and body, as curl sees them."""
    command = ["curl", "-s", "-m", "10", "-w", "\n%{http_code}", f"http://{address}{path}"]
    body, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rsplit("\n", 1)
    return int(status), body


class Load:
    """Requests one after the other over kept connections; every answer must be 200.

    A connection that was closed while nothing was under way is replaced, and what was written to it asked again, as
    any client does; a fresh one must answer.
    """

    def __init__(self, address, path, threads=2):
        self.counts, self.faults, self.again, self.over = [0] * threads, [], 0, threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(address, path, it)) for it in range(threads)]
        for thread in self.threads:
            thread.start()

    def run(self, address, path, number):
        connection = http.client.HTTPConnection(address, timeout=10)
        while not self.over.is_set():
            fresh = connection.sock is None
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    self.faults.append(response.status)
            except (http.client.RemoteDisconnected, ConnectionError) as error:
                connection.close()
                if not fresh:
                    self.again += 1
                    continue
                self.faults.append(repr(error))
            except OSError as error:
                self.faults.append(repr(error))
                connection.close()
            self.counts[number] += 1

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        return sum(self.counts), self.faults


def is_gone(pid):
    """Ended, or a zombie that nobody waits for: its parent has ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


class Process:
    """A process, or the one that took over from it."""

    def __init__(self, command, log):
        with open(log, "wb") as file:
            self.child = subprocess.Popen(command, stderr=file, stdout=file, stdin=subprocess.DEVNULL)
        self.pid = self.child.pid

    def end(self):
        os.kill(self.pid, signal.SIGTERM)
        until(lambda: self.child.poll() is not None and (self.pid == self.child.pid or is_gone(self.pid)), "its end")
        check(self.child.returncode == 0, "SIGTERM ends it with 0")

    def kill(self):
        for pid in {self.pid, self.child.pid}:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def process(command, log):
    """A process that is ended with SIGTERM and must then end well."""
    it = Process(command, log)
    try:
        yield it
        it.end()
        text = pathlib.Path(log).read_text(errors="replace")
        check("panicked" not in text, "nothing panicked")
    except BaseException:
        it.kill()
        print(pathlib.Path(log).read_text(errors="replace")[-8000:], file=sys.stderr)
        raise


def plane(binary, folder):
    print("== a control plane in Python, a real gateway", flush=True)
    control = Plane()
    server = grpc.server(futures.ThreadPoolExecutor(8))
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(control, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    config = {
        "config": {
            "namespace": "default",
            "gateway": "edge",
            "xdsAddress": f"http://127.0.0.1:{port}",
            "adminAddr": f"unix:{folder}/admin",
            "statsAddr": "off",
            "readinessAddr": "off",
            "stateDirectory": f"{folder}/state",
        }
    }
    (folder / "gateway.yaml").write_text(json.dumps(config))
    one, two = upstream("one"), upstream("two")
    file = str(folder / "gateway.yaml")
    with process([binary, "-f", file], folder / "gateway.log") as gateway:
        first = control.first.get(timeout=PATIENCE)
        check(first.type_url == TYPE and not first.initial_resource_versions, "it asks for everything, having nothing")
        check(first.node.user_agent_name == "agentgateway" and bool(first.node.id), "it says who it is")
        start = bind() | listener() | backend("one", one) | backend("two", two)
        start |= route("steady", {"pathPrefix": "/steady"}, "one")
        check(control.say(start) == {}, "bind, listener, route and backends are taken")

        def address():
            with contextlib.suppress(OSError):
                binds = ask(folder / "admin", "/config/status")["binds"]
                return binds and binds[0]["address"]

        address = until(address, "the bind listens")
        check(curl(address, "/steady") == (200, "one"), "the first route serves")
        load = Load(address, "/steady")
        check(curl(address, "/x")[0] == 404, "nothing is at /x")
        check(control.say(route("x", {"pathPrefix": "/x"}, "one")) == {}, "add: taken")
        check(curl(address, "/x") == (200, "one"), "add: serves")
        check(control.say(route("x", {"pathPrefix": "/x"}, "two")) == {}, "change: taken")
        check(curl(address, "/x") == (200, "two"), "change: serves")
        refused = control.say(route("x", {"regex": "/x("}, "one") | route("y", {"exact": "/y"}, "one"))
        check(list(refused) == ["route/x"], "break: only the broken route is refused")
        check("route.matches[0].path.regex" in refused["route/x"], f"break: the reason names the field: {refused}")
        check(curl(address, "/x") == (200, "two"), "break: the last good version serves")
        check(curl(address, "/y") == (200, "one"), "break: what came with it serves")
        refused = control.say({"route/z": b"\xff\xff"})
        check("not a message" in refused.get("route/z", ""), f"garbage is refused: {refused}")
        status = json.dumps(ask(folder / "admin", "/config/status"))
        check("route/x" in status and "route/z" in status, "status names what is refused")
        check(control.say(route("x", {"pathPrefix": "/x"}, "one")) == {}, "repair: taken")
        check(curl(address, "/x") == (200, "one"), "repair: serves")
        check(control.say({}, ["route/x", "route/y", "route/z"]) == {}, "remove: taken")
        check(curl(address, "/x")[0] == 404 and curl(address, "/y")[0] == 404, "remove: gone")
        for round in range(50):
            taken = control.say(route("x", {"pathPrefix": "/x"}, "one")) == {}
            taken &= control.say(route("x", {"pathPrefix": f"/x/{round}"}, "two")) == {}
            taken &= list(control.say(route("x", {"regex": "/x("}, "one"))) == ["route/x"]
            assert taken and curl(address, f"/x/{round}") == (200, "two"), f"round {round}"
            assert control.say({}, ["route/x"]) == {} and curl(address, f"/x/{round}")[0] == 404, f"round {round}"
        check(True, "the same, 50 times over")
        check(control.say(group("team") | route("team", {"pathPrefix": "/team"}, "two")) == {}, "a route group: taken")
        upgrade(binary, file, folder, control, gateway)
        check(control.say(route("x", {"pathPrefix": "/x"}, "two")) == {}, "after the upgrade, add: taken")
        check(curl(address, "/x") == (200, "two"), "after the upgrade, add: serves")
        count, faults = load.stop()
        told = f"{count} requests meanwhile, none failed {faults[:3]}; {load.again} asked again on a fresh connection"
        check(count > 0 and not faults, told)
    server.stop(None)


def upgrade(binary, file, folder, control, gateway):
    """A new process takes over, while the stream is open."""
    sent = control.sent
    command = [binary, "upgrade", "--wait", "-f", file]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    check(outcome.returncode == 0, f"upgrade: {outcome.stdout.strip() or outcome.stderr.strip()}")
    again = control.first.get(timeout=PATIENCE)
    check(again.node.id != "" and again.type_url == TYPE, "upgrade: the successor asks, with a stream of its own")
    versions = dict(again.initial_resource_versions)
    check(versions == control.held, f"upgrade: it names the {len(versions)} versions it inherited, and they are all")
    check(control.sent == sent, "upgrade: nothing was sent for it")
    newest = ask(folder / "admin", "/generations")["generations"][0]
    check(newest["pid"] != gateway.pid and newest["generation"] == 2, "upgrade: another process answers")
    word = ask(folder / "admin", "/config/status")["xds"]
    check(word["resources"] == len(versions), f"upgrade: it has {word['resources']} resources, from {word['from']}")
    gateway.pid = newest["pid"]


# --- this program as client


DOCUMENT = """binds:
- port: 3000
  listeners:
  - name: l
    routes:
    - name: a
      matches: [{{path: {{exact: /a}}}}]
      policies: {{directResponse: {{status: {status}}}}}
    - name: b
      backends: [{{host: "localhost:1"}}]
"""


def identity(folder):
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    command += f" -addext subjectAltName=DNS:localhost -keyout {folder}/key.pem -out {folder}/cert.pem"
    subprocess.run(command.split(), check=True, capture_output=True)


class Stream:
    """One stream as a client has it."""

    def __init__(self, channel, token, node="outside", versions=None):
        self.requests = queue.Queue()
        node = base_pb2.Node(id=node, user_agent_name="outside")
        first = discovery_pb2.DeltaDiscoveryRequest(node=node, type_url=TYPE, initial_resource_versions=versions or {})
        self.requests.put(first)
        metadata = [("authorization", f"Bearer {token}")] if token else []
        stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
        self.responses = stub.DeltaAggregatedResources(iter(self.requests.get, None), metadata=metadata)

    def next(self, refuse=None):
        """The next response, acknowledged or refused."""
        response = next(self.responses)
        answer = discovery_pb2.DeltaDiscoveryRequest(type_url=TYPE, response_nonce=response.nonce)
        if refuse:
            answer.error_detail.code = 3
            answer.error_detail.message = json.dumps([{"key": refuse[0], "error": refuse[1]}])
        self.requests.put(answer)
        return response

    def all(self, count):
        """So many resources, by name."""
        found = {}
        while len(found) < count:
            for it in self.next().resources:
                content = resource_pb2.Resource.FromString(it.resource.value)
                found[it.name] = (it.version, content)
        return found

    def close(self):
        self.requests.put(None)
        self.responses.cancel()


def client(binary, folder):
    print("== `agentgateway xds serve`, a client in Python", flush=True)
    identity(folder)
    (folder / "tokens").write_text("first\nsecond\n")
    document = folder / "served.yaml"
    document.write_text(DOCUMENT.format(status=200))
    command = [binary, "xds", "serve", "-f", str(document), "--address", "127.0.0.1:0"]
    command += ["--status-address", f"unix:{folder}/status"]
    command += ["--tls-cert", f"{folder}/cert.pem", "--tls-key", f"{folder}/key.pem", "--token-file", f"{folder}/tokens"]
    log = folder / "serve.log"
    with process(command, log) as child:
        serving = re.compile(r"serving.*?address=(\S+)")
        address = until(lambda: serving.search(log.read_text()), "it serves").group(1)
        credentials = grpc.ssl_channel_credentials((folder / "cert.pem").read_bytes())
        channel = grpc.secure_channel(f"localhost:{address.rsplit(':', 1)[1]}", credentials)
        for token in [None, "wrong"]:
            try:
                Stream(channel, token).next()
                check(False, "a stranger was let in")
            except grpc.RpcError as error:
                check(error.code() == grpc.StatusCode.UNAUTHENTICATED, f"token {token}: {error.details()}")
        stream = Stream(channel, "second")
        found = stream.all(6)
        names = sorted(found)
        check(names[1] == "bind/bind/3000" and sum(it.startswith("route/") for it in names) == 2, f"all comes: {names}")
        document.write_text(DOCUMENT.format(status=201))
        changed = stream.next(refuse=("policy/x", "the reason of a client"))
        check(len(changed.resources) == 1 and changed.resources[0].name.startswith("policy/"), "one edit, one resource")
        check(changed.ByteSize() < 512, f"in {changed.ByteSize()} bytes")

        def nacks():
            return ask(folder / "status", "/status")["nacks"]

        nack = until(nacks, "the refusal shows")[0]
        check(nack["node"] == "outside" and nack["refused"][0]["error"] == "the reason of a client", f"status: {nack}")
        until(lambda: "the reason of a client" in log.read_text(), "the log names the refusal")
        document.write_text("binds: [")
        until(lambda: ask(folder / "status", "/status")["document"].get("lastError"), "the broken document shows")
        document.write_text(DOCUMENT.format(status=202))
        check(len(stream.next().resources) == 1, "repaired: one resource")
        versions = {it: version for it, (version, _) in found.items()}
        stream.close()
        again = Stream(channel, "first", versions=versions).next()
        check([it.name for it in again.resources] == [changed.resources[0].name], "who comes back gets what it lacks")
        stale = dict(versions, **{again.resources[0].name: again.resources[0].version})
        again = Stream(channel, "first", versions=stale | {"route/gone": "1"}).next()
        check(not again.resources and list(again.removed_resources) == ["route/gone"], "and hears what is gone")
        last = Stream(channel, "first", versions=stale)
        last.next()
        os.kill(child.pid, signal.SIGTERM)
        try:
            last.next()
            check(False, "the stream goes on after SIGTERM")
        except grpc.RpcError as error:
            check(error.code() == grpc.StatusCode.UNAVAILABLE, f"SIGTERM ends streams: {error.details()}")
        channel.close()


def main():
    binary, *halves = sys.argv[1:]
    for half in halves or ["plane", "client"]:
        with tempfile.TemporaryDirectory(prefix="agw-") as folder:
            {"plane": plane, "client": client}[half](binary, pathlib.Path(folder))
    print("everything as it should be", flush=True)


if __name__ == "__main__":
    main()

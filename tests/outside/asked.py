"""Servers of another make that policies ask: gRPC in Python, with Envoy's public messages.

`authz`: this program is the authorization server of a real gateway (`envoy.service.auth.v3`), which curl asks.
`quota`: this program is its rate limit server (`envoy.service.ratelimit.v3`): fixed windows, counted by the descriptors and
the hits that come over the wire.
`limitador`: a published limiter (`limitador/`, in LIMITADOR) with Debian's Redis behind it is that server, of two gateways.

Run it through `tests/outside/run`.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent import futures

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2 as auth
from envoy.service.auth.v3 import external_auth_pb2_grpc
from envoy.service.ratelimit.v3 import rls_pb2 as rls
from envoy.service.ratelimit.v3 import rls_pb2_grpc
from envoy.type.v3 import http_status_pb2
from google.protobuf import struct_pb2
from google.rpc import code_pb2, status_pb2

from xds_session import ask, check, process, until, upstream

LIMIT = 5


def header(name, value):
    return base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key=name, value=value))


class Authz(external_auth_pb2_grpc.AuthorizationServicer):
    """Lets in who has the token, and remembers the questions."""

    def __init__(self):
        self.asked = []

    def Check(self, request, context):
        self.asked.append(request.attributes)
        http = request.attributes.request.http
        if http.path == "/slow":
            time.sleep(2)
        if http.headers.get("authorization") != "Bearer good":
            denied = auth.DeniedHttpResponse(
                status=http_status_pb2.HttpStatus(code=401),
                headers=[header("www-authenticate", 'Bearer realm="outside"')],
                body="who are you",
            )
            status = status_pb2.Status(code=code_pb2.UNAUTHENTICATED)
            return auth.CheckResponse(status=status, denied_response=denied)
        allowed = auth.OkHttpResponse(
            headers=[header("x-user", "me")],
            headers_to_remove=["authorization"],
            response_headers_to_add=[header("x-checked", "yes")],
        )
        left = struct_pb2.Struct()
        left.update({"tier": "gold"})
        return auth.CheckResponse(status=status_pb2.Status(code=0), ok_response=allowed, dynamic_metadata=left)


class Quota(rls_pb2_grpc.RateLimitServiceServicer):
    """So many hits in a minute for each descriptor, unless the descriptor says how many."""

    def __init__(self):
        self.counts, self.lock = {}, threading.Lock()

    def ShouldRateLimit(self, request, context):
        answer = rls.RateLimitResponse(overall_code=rls.RateLimitResponse.OK)
        window, left = divmod(int(time.time()), 60)
        for it in request.descriptors:
            hits = it.hits_addend.value if it.HasField("hits_addend") else request.hits_addend or 1
            limit = it.limit.requests_per_unit if it.HasField("limit") else LIMIT
            key = (request.domain, window // 60, tuple((entry.key, entry.value) for entry in it.entries))
            with self.lock:
                self.counts[key] = self.counts.get(key, 0) + hits
                used = self.counts[key]
            status = answer.statuses.add(limit_remaining=max(0, limit - used))
            status.code = rls.RateLimitResponse.OVER_LIMIT if used > limit else rls.RateLimitResponse.OK
            status.current_limit.requests_per_unit = limit
            status.current_limit.unit = rls.RateLimitResponse.RateLimit.MINUTE
            status.duration_until_reset.seconds = 60 - left
            if used > limit:
                answer.overall_code = rls.RateLimitResponse.OVER_LIMIT
        return answer


class Server:
    """One that is stopped and started at the same address."""

    def __init__(self):
        self.authz, self.quota, self.address = Authz(), Quota(), "127.0.0.1:0"
        self.start()

    def start(self):
        self.server = grpc.server(futures.ThreadPoolExecutor(8))
        external_auth_pb2_grpc.add_AuthorizationServicer_to_server(self.authz, self.server)
        rls_pb2_grpc.add_RateLimitServiceServicer_to_server(self.quota, self.server)
        port = self.server.add_insecure_port(self.address)
        self.address = f"127.0.0.1:{port}"
        self.server.start()

    def stop(self):
        self.server.stop(0).wait()


class Gateway:
    """A real gateway with one route under these policies."""

    def __init__(self, binary, folder, policies):
        self.folder = folder
        folder.mkdir()
        route = {"policies": policies, "backends": [{"host": upstream("served")}]}
        config = {
            "config": {"adminAddr": f"unix:{folder}/admin", "statsAddr": "off", "readinessAddr": "off"},
            "binds": [{"port": 0, "address": "127.0.0.1", "listeners": [{"routes": [route]}]}],
        }
        (folder / "gateway.yaml").write_text(json.dumps(config))
        self.process = process([binary, "-f", str(folder / "gateway.yaml")], folder / "gateway.log")

    def __enter__(self):
        self.process.__enter__()

        def address():
            try:
                binds = ask(self.folder / "admin", "/config/status")["binds"]
                return binds and binds[0]["address"]
            except OSError:
                return None

        self.address = until(address, "the bind listens")
        return self

    def __exit__(self, *error):
        return self.process.__exit__(*error)

    def curl(self, path, *headers):
        """Status, headers and body, as curl sees them."""
        named = [part for it in headers for part in ("-H", it)]
        command = ["curl", "-s", "-i", "-m", "10", *named, f"http://{self.address}{path}"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        head, body = text.split("\n\n", 1) if "\r\n\r\n" not in text else text.split("\r\n\r\n", 1)
        first, *lines = head.splitlines()
        pairs = dict(line.lower().split(": ", 1) for line in lines)
        return int(first.split()[1]), pairs, body


def authz(binary, folder):
    print("== an authorization server in Python, a real gateway, curl", flush=True)
    server = Server()
    policies = {
        "extAuthz": {
            "host": server.address,
            "failureMode": {"denyWithStatus": 503},
            "policies": {"http": {"requestTimeout": "1s"}},
            "protocol": {"grpc": {"context": {"tenant": "a"}}},
        },
        "authorization": {"rules": [{"allow": 'extauthz.tier == "gold"'}]},
    }
    with Gateway(binary, folder / "authz", policies) as gateway:
        status, headers, body = gateway.curl("/a?b=1", "authorization: Bearer good")
        check((status, body, headers.get("x-checked")) == (200, "served", "yes"), "who has the token gets in")
        asked = server.authz.asked[-1]
        http = asked.request.http
        check((http.method, http.path, http.scheme) == ("GET", "/a?b=1", "http"), "it was told method, path and scheme")
        check(http.host == gateway.address and http.protocol == "HTTP/1.1", "and host and protocol")
        check(asked.source.address.socket_address.address == "127.0.0.1", "and who the client is")
        check(asked.context_extensions["tenant"] == "a", "and the context")
        status, headers, body = gateway.curl("/a")
        check((status, body) == (401, "who are you"), "who has none is answered by the server")
        check(headers["www-authenticate"] == 'bearer realm="outside"', "with its challenge")
        check(gateway.curl("/slow", "authorization: Bearer good")[0] == 503, "a server that is too slow: 503")
        server.stop()
        check(gateway.curl("/a", "authorization: Bearer good")[0] == 503, "a server that is gone: 503")
        server.start()
        back = until(lambda: gateway.curl("/a", "authorization: Bearer good")[0] == 200, "a server that is back")
        check(back, "a server that is back is asked again")
    server.stop()


def quota(binary, folder):
    print("== a rate limit server in Python, a real gateway, curl", flush=True)
    server = Server()
    # A window must not end between two requests.
    if time.time() % 60 > 50:
        time.sleep(61 - time.time() % 60)
    user = {"entries": [{"key": "user", "value": 'request.headers["x-user"]'}]}
    big = {"cost": 'request.path == "/big" ? 4 : 1'}
    more = {"limitOverride": '{"unit": "minute", "requestsPerUnit": 100}'}
    group = {"entries": [{"key": "group", "value": '"all"'}]}
    policies = {
        "remoteRateLimit": {
            "host": server.address,
            "domain": "shop",
            "descriptors": [user | big, group | more],
            "failureMode": "failOpen",
            "policies": {"http": {"requestTimeout": "1s"}},
        }
    }
    with Gateway(binary, folder / "quota", policies) as gateway:
        left = [gateway.curl("/a", "x-user: eve")[1]["x-ratelimit-remaining"] for _ in range(LIMIT)]
        check(left == ["4", "3", "2", "1", "0"], f"the tightest limit is told: {left}")
        status, headers, _ = gateway.curl("/a", "x-user: eve")
        check(status == 429 and 0 < int(headers["retry-after"]) <= 60, "then 429, with the time to wait")
        check(gateway.curl("/a", "x-user: bob")[0] == 200, "somebody else has a quota of his own")
        status, headers, _ = gateway.curl("/big", "x-user: bob")
        check((status, headers["x-ratelimit-remaining"]) == (200, "0"), "a request may cost more than one hit")
        check(gateway.curl("/a", "x-user: bob")[0] == 429, "and uses the quota up")
        check(sum(server.quota.counts.values()) == 6 + 1 + 4 + 1 + 9, "every hit was counted once, by its descriptor")
        server.stop()
        check(gateway.curl("/a", "x-user: eve")[0] == 200, "failOpen: a server that is gone lets pass")
    server.stop()


class Limitador:
    """The published limiter: so many hits in ten minutes for each user, counted in Redis."""

    def __init__(self, redis):
        command = [os.environ["LIMITADOR"], redis, "shop", str(LIMIT), "600", "descriptors[0].user"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()

    def stop(self):
        self.process.kill()
        self.process.wait()


def limitador(binary, folder):
    print("== Limitador and Redis, two real gateways, curl", flush=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    log = open(folder / "redis.log", "w")
    redis = subprocess.Popen(["redis-server", *options], stdout=log, stderr=log)

    def listens():
        try:
            return socket.create_connection(("127.0.0.1", port), 1)
        except OSError:
            return None

    def policies(server):
        user = {"entries": [{"key": "user", "value": 'request.headers["x-user"]'}]}
        costs = {"cost": 'request.path == "/big" ? 4 : 1'}
        return {"remoteRateLimit": {"host": server.address, "domain": "shop", "descriptors": [user | costs]}}

    try:
        until(listens, "Redis listens").close()
        server = Limitador(f"redis://127.0.0.1:{port}")
        with Gateway(binary, folder / "one", policies(server)) as one, Gateway(binary, folder / "two", policies(server)) as two:
            eve = [gateway.curl("/a", "x-user: eve") for gateway in (one, two, one, two, one)]
            check([it[0] for it in eve] == [200] * LIMIT, "who has something left gets in")
            left = [it[1].get("x-ratelimit-remaining") for it in eve]
            check(left == ["4", "3", "2", "1", "0"], f"and both gateways say how much, of one quota: {left}")
            refused = [gateway.curl("/a", "x-user: eve") for gateway in (one, two)]
            check([it[0] for it in refused] == [429, 429], "then neither lets in")
            check(one.curl("/a", "x-user: bob")[0] == 200, "somebody else has a quota of his own")
            check(two.curl("/big", "x-user: bob")[0] == 200, "a request may cost more than one hit")
            check(one.curl("/a", "x-user: bob")[0] == 429, "and uses the quota up")
        server.stop()
        # Another process of it, which knows what Redis knows.
        server = Limitador(f"redis://127.0.0.1:{port}")
        with Gateway(binary, folder / "three", policies(server)) as gateway:
            check(gateway.curl("/a", "x-user: eve")[0] == 429, "a server that was started anew still knows")
            check(gateway.curl("/a", "x-user: carl")[0] == 200, "and counts on")
            redis.kill()
            redis.wait()
            status = gateway.curl("/a", "x-user: carl")[0]
            check(status == 503, f"one without its Redis cannot say: closed, with {status}")
            server.stop()
            status = gateway.curl("/a", "x-user: carl")[0]
            check(status == 503, f"as one that is gone: {status}")
    finally:
        redis.kill()


def main():
    halves = {"authz": authz, "quota": quota, "limitador": limitador}
    wanted = sys.argv[2:] or list(halves)
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            halves[name](sys.argv[1], pathlib.Path(folder))
    print("all well", flush=True)


if __name__ == "__main__":
    main()

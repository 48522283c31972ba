"""What policies cost by how much they hold, what asking an authorization server costs, and what the rest pays for them."""

import contextlib
import hashlib
import json
import subprocess
import time

from proxies import LOAD_CORE, PARTS, PROXY_CORE, free_port, memory, wait_for

API_KEYS = 1000
RATE_KEYS = 100_000
AT_ONCE = 32


def api_keys(count):
    digest = lambda n: "sha256:" + hashlib.sha256(f"key-{n}".encode()).hexdigest()
    return {"apiKey": {"location": {"header": {"name": "x-api-key"}},
                       "keys": [{"keyHash": digest(n), "metadata": {"owner": f"user-{n}"}} for n in range(count)]}}


def rate_limit(keys_max):
    bucket = {"maxTokens": 1_000_000_000, "tokensPerFill": 1, "fillInterval": "24h"}
    return {"localRateLimit": [{**bucket, "name": "user", "key": "request.headers['x-user']", "maxKeys": keys_max}]}


def checked(bench, proxy, headers, count):
    result = bench.load(proxy.plain, n=count, **({"headers": headers} if headers else {}))
    if result["errors"] or result["odd"]:
        raise SystemExit(f"the load met errors: {result}")
    return result["requests"]


def keys(bench, report, rounds):
    """1,000 API keys against one; 100,000 keys of a rate limit against 100, and what a key takes."""
    few, many = (bench.list(f"keys-{count}", (f"x-api-key: key-{n * 7919 % count}" for n in range(1000)))
                 for count in (1, API_KEYS))
    with bench.started(one=bench.gateway(policies=api_keys(1)), thousand=bench.gateway(policies=api_keys(API_KEYS))) as it:
        it["one"].list, it["thousand"].list = few, many
        turns = rounds(bench, it, lambda proxy: checked(bench, proxy, proxy.list, 20000 // PARTS), bench.rounds, PARTS)
        report.turns("API keys", "µs/request", turns, goal=[("thousand", "one", 1.05)])
    users = {count: bench.list(f"users-{count}", (f"x-user: user-{n * 7919 % count}" for n in range(RATE_KEYS)))
             for count in (100, RATE_KEYS)}
    policy = rate_limit(2 * RATE_KEYS)
    with bench.started(hundred=bench.gateway(policies=policy), hundred_thousand=bench.gateway(policies=policy)) as it:
        it["hundred"].list, it["hundred_thousand"].list = users[100], users[RATE_KEYS]
        load = lambda proxy: checked(bench, proxy, proxy.list, RATE_KEYS // 2)
        # All keys are known before anything is counted.
        for proxy in it.values():
            checked(bench, proxy, proxy.list, 2 * RATE_KEYS)
        turns = rounds(bench, it, load, bench.rounds)
        report.turns("rate-limit keys", "µs/request", turns, goal=[("hundred_thousand", "hundred", 1.05)])
        bytes_of = lambda name: memory(it[name].pid)["Anonymous"] * 1024
        each = (bytes_of("hundred_thousand") - bytes_of("hundred")) / (RATE_KEYS - 100)
        report.add("memory of a rate-limit key", each, "bytes", goal=200, judged="figure")


def elsewhere(bench, report, rounds):
    """What requests pay for policies of other routes: nothing that can be measured."""
    everything = {**api_keys(10), **rate_limit(1000), "csrf": {}, "cors": {"allowOrigins": ["https://a.test"]},
                  "authorization": {"rules": [{"allow": "request.method == 'GET'"}]},
                  "transformations": {"request": {"set": {"x-a": "request.path"}}},
                  "extAuthz": {"host": "127.0.0.1:1"}}
    loaded = bench.gateway()
    text = loaded.file.read_text()
    other = f"- name: other\n  hostnames: [other.test]\n  policies: {json.dumps(everything)}\n  backends:\n  - host: {bench.backend}\n"
    loaded.file.write_text(text.replace("routes:\n", "routes:\n" + other, 1))
    with bench.started(plain=bench.gateway(), loaded=loaded) as it:
        load = lambda proxy: bench.load(proxy.plain, n=30000 // PARTS)["requests"]
        turns = rounds(bench, it, load, bench.rounds, PARTS)
        report.turns("policies elsewhere", "µs/request", turns, goal=[("loaded", "plain", 1.02)])


@contextlib.contextmanager
def authorization_server(bench):
    built = [bench.bin / "bench-authz", bench.bin.parent / "release" / "bench-authz"]
    binary = str(next((it for it in built if it.exists()), built[-1]))
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(["taskset", "-c", LOAD_CORE, binary, "serve", address], stdin=subprocess.DEVNULL)
    try:
        wait_for(address, process)
        yield binary, address
    finally:
        process.terminate()
        process.wait()


def authz(bench, report, rounds):
    """What `extAuthz` over gRPC adds to a request, against a call by a bare client of tonic."""
    with authorization_server(bench) as (binary, address):
        proxies = dict(plain=bench.gateway(), asking=bench.gateway(policies={"extAuthz": {"host": address}}))
        turns = {name: [] for name in ("added", "bare")}
        with bench.started(**proxies) as it:
            for _ in range(bench.rounds * PARTS):
                one = rounds(bench, it, lambda proxy: checked(bench, proxy, None, 20000 // PARTS), 1)
                turns["added"].append(one["asking"][0] - one["plain"][0])
                command = ["taskset", "-c", PROXY_CORE, binary, "call", address, str(20000 // PARTS), str(AT_ONCE)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                turns["bare"].append(float(done.stdout))
                time.sleep(0.05)
        report.turns("extAuthz", "µs/call", turns, goal=[("added", "bare", 1.3)])

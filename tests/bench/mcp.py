"""MCP servers behind the gateway: calls, lists, idle sessions, and an upgrade under live ones.

What stands next to us carries the same messages: our own plain route and nginx as they are, and the proxy of the PyPI
package `fastmcp`, as the interpreter in $BENCH_FASTMCP has it (`python3`, if nothing is said), where it is installed.
"""

import asyncio
import contextlib
import http.client
import json
import os
import resource
import shutil
import subprocess
import sys

import policies as policy
import upgrade as upgrades
from proxies import PARTS, Proxy, cpu, memory

CALLS = 20000
# Of a proxy that needs a tenth of a second for each.
CALLS_OF_SLOW = 50
# Calls that are under way have ids of their own.
CALLS_APART = 4096
IDENTITIES = 100
LISTED, SERVERS = 2000, 10
STREAMS, LIVE = 10000, 500
BOTH = "application/json, text/event-stream"
INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
    "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}}
FASTMCP = """
import sys
from fastmcp import FastMCP
try:
    from fastmcp.server import create_proxy
except ImportError:
    create_proxy = FastMCP.as_proxy
create_proxy(sys.argv[1]).run(transport="http", host="127.0.0.1", port=int(sys.argv[2]), path="/mcp", show_banner=False,
                              log_level="error")
"""


def federation(bench, paths, policies=None):
    """Routes of a document that has servers at these paths of the backend, as JSON, which is YAML."""
    targets = [{"name": f"t{at}", "mcp": {"host": f"http://{bench.backend}{path}"}} for at, path in enumerate(paths)]
    route = {"name": "tools", "gateways": ["default"], "policies": policies or {}, "backends": [{"mcp": {"targets": targets}}]}
    return f"- {json.dumps(route)}\n"


def opened(address, headers=None):
    """A session's id."""
    connection = http.client.HTTPConnection(address, timeout=30)
    headers = {"Accept": BOTH, "Content-Type": "application/json", **(headers or {})}
    with contextlib.closing(connection):
        connection.request("POST", "/mcp", json.dumps(INITIALIZE), headers)
        answer = connection.getresponse()
        said = answer.read()
        session = answer.getheader("mcp-session-id")
        if answer.status != 200 or not session or b'"error"' in said:
            raise SystemExit(f"no session: {answer.status} {said[:500]}")
        initialized = json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"})
        connection.request("POST", "/mcp", initialized, {**headers, "mcp-session-id": session})
        connection.getresponse().read()
        return session


def call_of(tool, at):
    return json.dumps({"jsonrpc": "2.0", "id": 1000 + at, "method": "tools/call",
                       "params": {"name": tool, "arguments": {"text": "hello", "at": at}}}, separators=(",", ":"))


def counted(bench):
    """Messages that the servers have got, by method."""
    connection = http.client.HTTPConnection(bench.backend, timeout=30)
    connection.request("GET", "/mcp/counts")
    return json.loads(connection.getresponse().read())


class Caller:
    """The load on one proxy: messages in one session, or in one for each identity."""

    def __init__(self, bench, name, proxy, bodies, tokens=None, count=CALLS, at_once=32):
        self.bench, self.proxy, self.count, self.at_once = bench, proxy, count, at_once
        self.bodies = bench.list(f"bodies-{name}", bodies)
        if tokens:
            lines = (f"Authorization: Bearer {it}\tmcp-session-id: " + opened(proxy.plain, {"Authorization": f"Bearer {it}"})
                     for it in tokens)
        else:
            lines = [f"mcp-session-id: {opened(proxy.plain)}"]
        self.headers = bench.list(f"sessions-{name}", lines)

    def load(self, count=None, **options):
        options = {"c": self.at_once, **options}
        result = self.bench.load(self.proxy.plain, n=count or self.count, p="/mcp", bodies=self.bodies, headers=self.headers,
                                 header=["mcp-protocol-version: 2025-06-18"], **options)
        if result["errors"] or result["odd"] or result["missing"]:
            raise SystemExit(f"the load met errors: {result}")
        return result


def checked(proxy, session, tool):
    """Nothing is measured that is not an answer."""
    connection = http.client.HTTPConnection(proxy.plain, timeout=30)
    connection.request("POST", "/mcp", call_of(tool, 0), {"Accept": BOTH, "Content-Type": "application/json", **session})
    said = connection.getresponse().read()
    if b"hello world" not in said:
        raise SystemExit(f"not an answer to a call: {said[:500]}")


def fastmcp(bench):
    python = os.environ.get("BENCH_FASTMCP", "python3")
    installed = shutil.which(python) and not subprocess.run([python, "-c", "import fastmcp"], capture_output=True).returncode
    if not installed:
        return None
    plain, tls = bench.addresses()
    port = plain.split(":")[1]
    environment = {"FASTMCP_JSON_RESPONSE": "true", "FASTMCP_CHECK_FOR_UPDATES": "off"}
    return Proxy([python, "-c", FASTMCP, f"http://{bench.backend}/mcp", port], plain, tls, environment)


def calls(bench, report, rounds):
    issuer = policy.Issuer(bench.folder)
    rule = {**policy.jwt(issuer), "mcpAuthorization": {"rules": ['mcp.tool.name == "echo" && jwt.sub.startsWith("user-")']}}
    proxies = dict(plain=bench.gateway(), one=bench.gateway(written=federation(bench, ["/mcp"])),
                   ten=bench.gateway(written=federation(bench, ["/mcp"] * SERVERS)),
                   rule=bench.gateway(written=federation(bench, ["/mcp"], rule)), nginx=bench.nginx())
    other = fastmcp(bench)
    if other:
        proxies["fastmcp"] = other
    else:
        print("  not installed: fastmcp ($BENCH_FASTMCP)", file=sys.stderr)
    tokens = [issuer.token(at) for at in range(IDENTITIES)]
    with bench.started(**proxies) as it:
        callers = {}
        for name, proxy in it.items():
            tools = [f"t{at}_echo" for at in range(SERVERS)] if name == "ten" else ["echo"]
            bodies = [call_of(tools[at % len(tools)], at) for at in range(CALLS_APART)]
            slow = dict(count=CALLS_OF_SLOW, at_once=4) if name == "fastmcp" else {}
            callers[name] = Caller(bench, name, proxy, bodies, tokens if name == "rule" else None, **slow)
            callers[name].pid = proxy.pid
            first = open(callers[name].headers).readline().strip().split("\t")
            checked(proxy, dict(line.split(": ", 1) for line in first), tools[0])
        turns = rounds(bench, callers, lambda caller: caller.load(max(caller.count // PARTS, 4))["requests"], bench.rounds, PARTS)
    goal = [("one", "plain", 1.35), ("ten", "one", 1.05), ("rule", "plain", 1.6), ("plain", "nginx", None)]
    goal += [("fastmcp", "one", None)] if other else []
    report.turns("tools/call", "µs/call", turns, goal=goal)


def lists(bench, report, rounds):
    gateway = bench.gateway(written=federation(bench, [f"/mcp/tools/{LISTED // SERVERS}"] * SERVERS))
    with bench.started(ours=gateway) as it:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, separators=(",", ":"))
        caller = Caller(bench, "lists", it["ours"], [body])
        before = caller.load(1)
        if before["bytes"] < LISTED * 100:
            raise SystemExit(f"a list of {before['bytes']} bytes is none of {LISTED} tools")
        asked, medians, costs = counted(bench).get("tools/list", 0), [], []
        for _ in range(bench.rounds):
            began = cpu(it["ours"].pid)
            medians.append(caller.load(200, c=1, latency=True)["median_us"] / 1000)
            costs.append((cpu(it["ours"].pid) - began) * 1e6 / 200)
        asked = counted(bench).get("tools/list", 0) - asked
    what = f"tools/list, {SERVERS} servers, {LISTED:,} tools"
    median = lambda all_of: sorted(all_of)[len(all_of) // 2]
    report.add(f"{what}: answered", median(medians), "ms", goal=3, judged="figure", more=dict(rounds=medians))
    report.add(f"{what}: CPU", median(costs), "µs/list", more=dict(rounds=costs))
    report.add(f"{what}: asked of servers meanwhile", asked, "lists", goal=0, judged="figure")


def idle(bench, report):
    # A stream is two descriptors of the proxy.
    count = min(STREAMS, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2 - 1500)
    spare = min(1000, count // 5)
    figures = {}
    for name, proxy in (("floor", bench.floor()), ("ours", bench.gateway(written=federation(bench, ["/mcp"])))):
        with bench.started(it=proxy) as it:
            proxy = it["it"]
            session = lambda at: opened(bench.backend if name == "floor" else proxy.plain)
            held = lambda which, number: bench.held(
                proxy.plain, number, p="/mcp", streams=True, header=["Accept: text/event-stream"],
                headers=bench.list(f"streams-{which}", (f"mcp-session-id: {session(at)}" for at in range(number))))
            # What the process has to spare from its start is used up first.
            with held("spare", spare):
                before = memory(proxy.pid)
                with held("all", count):
                    after = memory(proxy.pid)
        figures[name] = (after["Rss"] - before["Rss"]) / count
        pss = (after["Pss"] - before["Pss"]) / count
        ratio = figures["ours"] / figures["floor"] if name == "ours" else None
        report.add(f"{count:,} sessions with an idle stream: {name}", figures[name], "KiB", ratio, "floor",
                   1.3 if name == "ours" else None, more=dict(pss=pss))


def upgrade(bench, report):
    for what, path in (("servers whose events have ids", "ids"), ("servers whose events have none", "none")):
        gateway = bench.gateway(written=federation(bench, [f"/mcp/events/250000/{path}"]))
        with bench.started(ours=gateway) as it:
            sessions = [opened(it["ours"].plain) for _ in range(LIVE)]
            seen = asyncio.run(upgrades.lived(it["ours"], sessions, call_of("echo", 0)))
        title = f"upgrade with {LIVE} sessions, {what}"
        report.add(f"{title}: calls that failed", seen.failed, f"of {seen.calls}", goal=0, judged="figure")
        report.add(f"{title}: events lost", seen.lost, f"of {seen.events}", goal=0, judged="figure")
        report.add(f"{title}: events repeated", seen.repeated, f"of {seen.events}", goal=0, judged="figure")
        report.add(f"{title}: sessions to begin anew", seen.ended, f"of {LIVE}", goal=0, judged="figure")
        report.add(f"{title}: streams that were gone on with", seen.resumed, "")

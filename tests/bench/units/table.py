"""The medians that Criterion has left, as a table with ratios; `tests/bench/units/run` calls it."""

import json
import pathlib
import sys

# What grows, from where to where; what may not grow with the routes is near 1.
RATIOS = [
    ("find/path_hit", 1, 1_000), ("find/path_hit", 1_000, 10_000), ("find/path_hit", 1_000, 100_000),
    ("find/path_miss", 1_000, 100_000),
    ("find/host_hit", 1, 1_000), ("find/host_hit", 1_000, 10_000), ("find/host_hit", 1_000, 100_000),
    ("find/host_miss", 1_000, 100_000),
    ("plan/one_route", 100, 10_000), ("plan/one_route", 100, 100_000),
    ("plan/gateway_policy", 100, 100_000),
]


def medians(target):
    found = {}
    for path in pathlib.Path(target, "criterion").glob("*/*/new/benchmark.json"):
        name = json.loads(path.read_text())["full_id"]
        found[name] = json.loads(path.with_name("estimates.json").read_text())["median"]["point_estimate"]
    return found


def shown(nanoseconds):
    if nanoseconds < 1_000:
        return f"{nanoseconds:.0f} ns"
    return f"{nanoseconds / 1_000:.1f} µs" if nanoseconds < 1_000_000 else f"{nanoseconds / 1_000_000:.2f} ms"


def order(name):
    head, _, size = name.rpartition("/")
    return (head, int(size)) if size.isdigit() else (name, 0)


def main(target):
    found = medians(target)
    lines = ["| part | median |", "|---|---|"]
    lines += [f"| {name} | {shown(found[name])} |" for name in sorted(found, key=order)]
    lines += ["", "| part | grows | ratio |", "|---|---|---|"]
    for part, small, large in RATIOS:
        one, other = found.get(f"{part}/{small}"), found.get(f"{part}/{large}")
        if one and other:
            lines.append(f"| {part} | {small:,} → {large:,} | {other / one:.2f} |")
    text = "\n".join(lines) + "\n"
    print(text, end="")
    folder = pathlib.Path(target, "bench")
    folder.mkdir(exist_ok=True)
    (folder / "units.md").write_text(text)


main(sys.argv[1])

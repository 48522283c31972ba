"""Each SDK of language models against providers that speak each of the other dialects, through a real gateway.

A model `on-X` is served by a provider that understands dialect X alone, so whoever asks for it in another dialect is
translated. Each scenario is one call as a user writes it; the table says which of them pass. Then the gateway's account of
every call is compared with what the SDK was told. Run it through `tests/outside/run llm-matrix`.
"""

import sys
import time

from llm_clients import CLIENTS, SCENARIOS
from llm_gateway import PATIENCE, PROVIDERS, SCRIPT, accounts, each, running


def accounted(folder, before, used):
    """Whether a line of the log says the same as the SDK."""
    keys = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        lines = accounts(folder)[before:]
        if any(tuple(it.get(key) for key in keys) == used for it in lines):
            return
        time.sleep(0.01)
    raise AssertionError(f"{used} used, and accounted: {lines}")


def main():
    failed, passed, table = [], 0, []
    with running(sys.argv[1], each, SCRIPT) as (folder, base):
        for name, kind in CLIENTS.items():
            client = kind(base)
            row = []
            for provider in PROVIDERS:
                good = 0
                for scenario in SCENARIOS:
                    before = len(accounts(folder))
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
    print("client \\ provider  " + "".join(f"{it:>11}" for it in PROVIDERS))
    for name, row in table:
        print(f"{name:<18} " + "".join(f"{f'{it}/{len(SCENARIOS)}':>11}" for it in row))
    for line in failed:
        print("  FAILED ", line)
    print(f"{passed} of {passed + len(failed)} scenarios pass")
    sys.exit(bool(failed))


main()

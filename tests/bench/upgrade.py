"""Sessions that live through a hot upgrade: each calls a tool and listens to its stream, as a client of MCP does.

A stream that ends is asked for again at once, with the id of the last event that was heard. Events are numbered by the
server without a gap, so that one that is lost or repeated is seen.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import time

# Between two calls of a session.
PAUSE = 0.5
# Of the whole, before and after the upgrade.
BEFORE, AFTER = 3, 4
PATIENCE = 60


class Seen:
    def __init__(self):
        self.calls = self.failed = self.events = self.lost = self.repeated = self.ended = self.resumed = 0
        self.reasons = []


class Client:
    def __init__(self, address, session, body, seen):
        self.host, self.port = address.split(":")
        self.session, self.body, self.seen = session, body.encode(), seen
        self.last_id = self.last_number = None
        self.running = True
        self.flow = None

    def head(self, method, more):
        lines = [f"{method} /mcp HTTP/1.1", f"Host: {self.host}:{self.port}", "Accept: application/json, text/event-stream",
                 f"mcp-session-id: {self.session}", "mcp-protocol-version: 2025-06-18", *more]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def answer(self, reader):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = re.search(r"content-length: (\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
        return int(head[9:12]), head, body

    async def calls(self):
        flow = None
        more = ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        while self.running:
            self.seen.calls += 1
            try:
                if flow is None:
                    flow = await asyncio.open_connection(self.host, self.port)
                flow[1].write(self.head("POST", more) + self.body)
                status, head, body = await asyncio.wait_for(self.answer(flow[0]), PATIENCE)
                if status != 200 or b"hello world" not in body:
                    self.fail(f"{status}: {body[:200]}")
                    self.seen.ended += status == 404
                if "connection: close" in head:
                    flow[1].close()
                    flow = None
            except (OSError, EOFError, asyncio.TimeoutError) as error:
                self.fail(repr(error))
                flow = None
            await asyncio.sleep(PAUSE)
        if flow:
            flow[1].close()

    def fail(self, reason):
        self.seen.failed += 1
        self.seen.reasons.append(reason)

    async def listens(self):
        while self.running:
            more = [f"Last-Event-ID: {self.last_id}"] if self.last_id else []
            try:
                self.flow = await asyncio.open_connection(self.host, self.port, limit=1 << 20)
                self.flow[1].write(self.head("GET", more))
                head = (await self.flow[0].readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                if " 200 " not in head.splitlines()[0]:
                    self.seen.ended += 1
                    self.seen.reasons.append(head.splitlines()[0])
                    return
                await self.events(self.flow[0])
            except (OSError, EOFError):
                pass
            if self.running:
                self.seen.resumed += 1

    async def events(self, reader):
        """Until the stream ends. Chunks end with a line break of their own, which lines of events do not mind."""
        while self.running:
            line = await reader.readline()
            if not line:
                return
            if line.startswith(b"id:"):
                self.next_id = line[3:].strip().decode()
            elif line.startswith(b"data:") and b'"data":"' in line:
                self.hear(int(re.search(rb'"data":"[^":]+:(\d+)"', line)[1]))
            elif line == b"\n" and getattr(self, "next_id", None):
                self.last_id, self.next_id = self.next_id, None

    def hear(self, number):
        self.seen.events += 1
        if self.last_number is not None:
            self.seen.lost += max(0, number - self.last_number - 1)
            self.seen.repeated += number <= self.last_number
        self.last_number = max(number, self.last_number or 0)

    def stop(self):
        self.running = False
        if self.flow:
            self.flow[1].close()


async def lived(proxy, sessions, body):
    """What sessions saw of an upgrade of this gateway."""
    seen = Seen()
    clients = [Client(proxy.plain, it, body, seen) for it in sessions]
    tasks = []
    for client in clients:
        tasks += [asyncio.create_task(client.calls()), asyncio.create_task(client.listens())]
        await asyncio.sleep(PAUSE / len(clients))
    await asyncio.sleep(BEFORE)
    os.kill(proxy.pid, signal.SIGHUP)
    successor = await noted(proxy, "started a successor")
    await noted(proxy, "took over")
    await ended(proxy.pid)
    heard = [it.last_number for it in clients]
    await asyncio.sleep(AFTER)
    # A stream on which nothing comes any more has lost what should have come.
    seen.lost += sum(client.last_number in (None, before) for client, before in zip(clients, heard))
    for client in clients:
        client.stop()
    await asyncio.wait(tasks, timeout=PATIENCE)
    with contextlib.suppress(ProcessLookupError):
        os.kill(successor["pid"], signal.SIGTERM)
    await ended(successor["pid"])
    for reason in list(dict.fromkeys(seen.reasons))[:3]:
        print(f"  {reason}")
    return seen


async def noted(proxy, message):
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        for line in proxy.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict) and record.get("message") == message:
                    return record
        await asyncio.sleep(0.05)
    raise SystemExit(f"the gateway does not say `{message}`: see {proxy.log}")


async def ended(pid):
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rsplit(") ", 1)[1][0] in "ZX":
                    return
        except FileNotFoundError:
            return
        await asyncio.sleep(0.05)
    raise SystemExit(f"process {pid} does not end")

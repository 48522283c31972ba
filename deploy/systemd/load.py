#!/usr/bin/env python3
"""Asks a gateway over and over and counts what happens, for deploy/systemd/test.

    load.py ADDRESS:PORT CLIENTS FILE

Half of the clients open a connection for each request, half keep theirs. It ends when FILE exists, or after two
minutes, and prints one line of counts. `refused` and `reset` have the meaning of the kernel; `closed` is a connection
that ended before the answer although no answer had said `close`; `gone` is a kept connection that ended between two
requests, which HTTP allows at any time.
"""

import asyncio
import collections
import json
import os
import sys
import time

LIMIT_S = 120
PATIENCE_S = 30


class Closed(Exception):
    pass


async def ask(reader, writer):
    """One request; true if the connection may be used again."""
    writer.write(b"GET /load HTTP/1.1\r\nhost: load\r\n\r\n")
    await writer.drain()
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise Closed(bool(error.partial)) from error
    lines = head.decode("latin-1").lower().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    try:
        await reader.readexactly(int(fields.get("content-length", "0")))
    except asyncio.IncompleteReadError as error:
        raise Closed(True) from error
    return lines[0].split()[1], fields.get("connection") != "close"


async def client(address, keep, counts, stop):
    host, port = address.rsplit(":", 1)
    while not stop():
        asked = 0
        writer = None
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), PATIENCE_S)
            again = True
            while again and not stop():
                status, again = await asyncio.wait_for(ask(reader, writer), PATIENCE_S)
                counts["ok" if status == "200" else "status_" + status] += 1
                asked += 1
                again = again and keep
                # So that a kept connection is idle at times, as real ones are.
                await asyncio.sleep(0.002 if keep else 0)
        except ConnectionRefusedError:
            counts["refused"] += 1
        except (ConnectionResetError, BrokenPipeError):
            counts["gone" if asked else "reset"] += 1
        except Closed as closed:
            counts["gone" if asked and not closed.args[0] else "closed"] += 1
        except asyncio.TimeoutError:
            counts["timeout"] += 1
        finally:
            if writer:
                writer.close()


async def main():
    address, clients, flag = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    counts = collections.Counter(ok=0, refused=0, reset=0, closed=0, gone=0, timeout=0)
    end = time.monotonic() + LIMIT_S
    seen = [False, 0.0]

    def stop():
        now = time.monotonic()
        if now - seen[1] > 0.05:
            seen[:] = [now > end or os.path.exists(flag), now]
        return seen[0]

    await asyncio.gather(*(client(address, n % 2 == 1, counts, stop) for n in range(clients)))
    print(json.dumps(counts))


asyncio.run(main())

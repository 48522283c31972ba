"""Clients of the official Python SDK, of whatever version is installed, and of fastmcp where that is: `clients.py URL SSE-URL`.
"""

import asyncio
import sys
from importlib.metadata import version

SDK = version("mcp")


def named(tools, name):
    return next(it.name for it in tools if it.name == name or it.name.endswith("_" + name))


async def use(client, tools, label):
    result = await client.call_tool(named(tools, "test_simple_text"), {})
    assert "simple text" in result.content[0].text, result
    print(f"ok {label}: {len(tools)} tools")


async def elder(url, sse):
    from mcp import ClientSession
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamablehttp_client

    for open_stream, place in ((streamablehttp_client, url), (sse_client, sse)):
        async with open_stream(place) as (read, write, *_):
            async with ClientSession(read, write) as session:
                opened = await session.initialize()
                tools = (await session.list_tools()).tools
                await use(session, tools, f"mcp {SDK} {open_stream.__name__} {opened.protocolVersion}")


async def modern(url, sse):
    from fastmcp import Client as Fast
    from mcp import Client

    async with Client(url) as client:
        await use(client, (await client.list_tools()).tools, f"mcp {SDK} {client.protocol_version}")
    for place in (url, sse):
        async with Fast(place) as client:
            await use(client, await client.list_tools(), f"fastmcp {version('fastmcp')} {place.rsplit('/', 1)[-1]}")


asyncio.run((elder if SDK.startswith("1.") else modern)(*sys.argv[1:]))

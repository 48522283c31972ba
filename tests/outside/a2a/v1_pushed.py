"""A client on the SDK of A2A 1.0 that is told of its task: the agent's own sender has to find the way through the gateway.

    v1_pushed.py BASE BINDING ADDRESS
"""

import asyncio
import sys
import uuid

import httpx
import uvicorn
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import (
    AuthenticationInfo,
    GetTaskPushNotificationConfigRequest,
    Message,
    Part,
    Role,
    SendMessageRequest,
    TaskPushNotificationConfig,
)
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

BASE, BINDING, ADDRESS = sys.argv[1:4]
TOKEN, PATIENCE = "kept from the agent", 20


def ids(event):
    kind = event.WhichOneof("payload")
    it = getattr(event, kind)
    return (it.id if kind == "task" else it.task_id), it.context_id


def task_in(news):
    """The id of the task that news are about, in either version."""
    inner = next(iter(news.values())) if len(news) == 1 else news
    return inner.get("taskId") or inner.get("task_id") or inner.get("id")


def request(text, task="", context=""):
    message = Message(message_id=str(uuid.uuid4()), role=Role.ROLE_USER, parts=[Part(text=text)])
    message.task_id, message.context_id = task, context
    return SendMessageRequest(message=message)


async def main():
    heard = []

    async def hear(asked):
        heard.append((dict(asked.headers), await asked.json()))
        return Response(status_code=204)

    host, port = ADDRESS.rsplit(":", 1)
    app = Starlette(routes=[Route("/news", hear, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, host=host, port=int(port), log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.05)

    http = httpx.AsyncClient(timeout=30)
    card = await A2ACardResolver(http, BASE).get_agent_card()
    config = ClientConfig(httpx_client=http, supported_protocol_bindings=[BINDING], use_client_preference=True)
    client = ClientFactory(config).create(card)
    events = [it async for it in client.send_message(request("ask"))]
    task, context = ids(events[-1])
    push = TaskPushNotificationConfig(task_id=task, id="p", url=f"http://{ADDRESS}/news", token=TOKEN)
    push.authentication.CopyFrom(AuthenticationInfo(scheme="Bearer", credentials="of the client"))
    await client.create_task_push_notification_config(push)
    got = await client.get_task_push_notification_config(GetTaskPushNotificationConfigRequest(task_id=task, id="p"))
    assert (got.url, got.token) == (push.url, TOKEN), f"a client sees what it wrote: {got}"
    done = [it async for it in client.send_message(request("go on", task, context))]
    assert ids(done[-1]) == (task, context), done[-1]

    for _ in range(PATIENCE * 10):
        if any("completed" in str(news).lower() for _, news in heard):
            break
        await asyncio.sleep(0.1)
    else:
        raise AssertionError(f"no news that the task is completed: {heard}")
    for headers, news in heard:
        assert task_in(news) == task, f"news are of the task that the client knows: {news}"
        assert headers["x-a2a-notification-token"] == TOKEN, headers
        assert headers["authorization"] == "Bearer of the client", headers
    print(f"{len(heard)} news over {BINDING}: ok", flush=True)
    server.should_exit = True
    await serving


asyncio.run(main())

"""A client on the SDK of A2A 0.3, against an agent of either version behind the gateway.

    v03_client.py BASE BINDING [bare] [list]
"""

import asyncio
import sys
import uuid

import grpc
import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import (
    GetTaskPushNotificationConfigParams,
    Message,
    Part,
    PushNotificationConfig,
    Role,
    TaskIdParams,
    TaskPushNotificationConfig,
    TaskQueryParams,
    TaskState,
    TextPart,
)

BASE, BINDING = sys.argv[1], sys.argv[2]
AUTHORITY = BASE.split("/")[2]
# Against an agent itself: what the gateway does is left out.
BARE = "bare" in sys.argv


def message(text, task=None, context=None):
    parts = [Part(root=TextPart(text=text))]
    return Message(message_id=str(uuid.uuid4()), role=Role.user, parts=parts, task_id=task, context_id=context)


async def last(events):
    event = None
    async for event in events:
        pass
    return event


async def task_of(client, text, **more):
    task, _ = await last(client.send_message(message(text, **more)))
    return await client.get_task(TaskQueryParams(id=task.id))


async def refused(what):
    try:
        await what
    except Exception:
        return
    raise AssertionError("it was not refused")


def who(task):
    return {part.root.text for artifact in task.artifacts or [] for part in artifact.parts}


async def main():
    http = httpx.AsyncClient(timeout=30)
    card = await A2ACardResolver(http, BASE).get_agent_card()
    urls = {card.url} | {it.url for it in card.additional_interfaces or []}
    assert BARE or all(AUTHORITY in it for it in urls), urls

    def client_of(streaming):
        config = ClientConfig(
            httpx_client=http,
            streaming=streaming,
            supported_transports=[BINDING],
            use_client_preference=True,
            grpc_channel_factory=grpc.aio.insecure_channel,
        )
        return ClientFactory(config).create(card)

    client, whole = client_of(True), client_of(False)
    seen = set()
    for number in range(8):
        task = await task_of(client if number % 2 else whole, "task")
        assert task.status.state == TaskState.completed, task
        seen |= who(task)
        asked = await task_of(client, "ask")
        assert asked.status.state == TaskState.input_required, asked
        done = await task_of(client, "go on", task=asked.id, context=asked.context_id)
        assert (done.id, done.context_id) == (asked.id, asked.context_id)
        assert done.status.state == TaskState.completed and len(who(done)) == 1, done
    assert len(seen) == (1 if BARE else 2), f"both agents are asked: {seen}"

    event = await last(whole.send_message(message("hi")))
    assert event.parts[0].root.text.startswith("hello from"), event

    events = [it async for it in client.send_message(message("slow"))]
    assert len(events) >= 7 and len({it[0].id for it in events}) == 1, events
    stream = client.send_message(message("slow"))
    first, _ = await anext(stream)
    again = [it async for it in client.resubscribe(TaskIdParams(id=first.id))]
    assert again and {it[0].id for it in again} == {first.id}, again
    # A queue of that SDK that is closed may drop its last event under load: the task itself says it.
    ended = await client.get_task(TaskQueryParams(id=first.id))
    assert ended.status.state == TaskState.completed, ended
    await stream.aclose()

    stream = client.send_message(message("hang"))
    first, _ = await anext(stream)
    cancelled = await client.cancel_task(TaskIdParams(id=first.id))
    assert (cancelled.id, cancelled.status.state) == (first.id, TaskState.canceled), cancelled
    await stream.aclose()

    for forged in ["forged", task.id[:-2], task.context_id]:
        await refused(client.get_task(TaskQueryParams(id=forged)))
    config = PushNotificationConfig(id="p", url="https://192.0.2.1/news")
    made = await client.set_task_callback(TaskPushNotificationConfig(task_id=asked.id, push_notification_config=config))
    assert made.task_id == asked.id, made
    params = GetTaskPushNotificationConfigParams(id=asked.id, push_notification_config_id="p")
    got = await client.get_task_callback(params)
    assert (got.task_id, got.push_notification_config.url) == (asked.id, config.url), got
    for url in [] if BARE else ["http://127.0.0.1/", "http://169.254.169.254/latest"]:
        config.url = url
        await refused(client.set_task_callback(TaskPushNotificationConfig(task_id=asked.id, push_notification_config=config)))

    extended = await client.get_card()
    assert BARE or AUTHORITY in extended.url, extended
    print(f"0.3 client, {BINDING}: ok", flush=True)


asyncio.run(main())

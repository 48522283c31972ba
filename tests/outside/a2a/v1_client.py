"""A client on the SDK of A2A 1.0, against an agent of either version behind the gateway.

    v1_client.py BASE BINDING [bare] [list]
"""

import asyncio
import sys
import uuid

import grpc
import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import (
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
    TaskState,
)

BASE, BINDING = sys.argv[1], sys.argv[2]
AUTHORITY = BASE.split("/")[2]
# Against an agent itself: what the gateway does is left out.
BARE = "bare" in sys.argv


def request(text, task="", context="", **more):
    message = Message(message_id=str(uuid.uuid4()), role=Role.ROLE_USER, parts=[Part(text=text)])
    message.task_id, message.context_id = task, context
    return SendMessageRequest(message=message, configuration=SendMessageConfiguration(**more))


def ids(event):
    kind = event.WhichOneof("payload")
    it = getattr(event, kind)
    return (it.id if kind == "task" else it.task_id), it.context_id


async def last(events):
    event = None
    async for event in events:
        pass
    return event


async def task_of(client, text, **more):
    """The task that a message makes, as it stands in the end."""
    event = await last(client.send_message(request(text, **more)))
    return await client.get_task(GetTaskRequest(id=ids(event)[0]))


async def refused(what, *kinds):
    try:
        await what
    except Exception as error:
        assert not kinds or type(error).__name__ in kinds, f"{type(error).__name__}: {error}"
        return
    raise AssertionError("it was not refused")


def who(task):
    return {part.text for artifact in task.artifacts for part in artifact.parts}


async def main():
    http = httpx.AsyncClient(timeout=30)
    card = await A2ACardResolver(http, BASE).get_agent_card()
    urls = {it.url for it in card.supported_interfaces}
    assert BARE or urls and all(AUTHORITY in it for it in urls), urls

    def client_of(streaming):
        config = ClientConfig(
            httpx_client=http,
            streaming=streaming,
            supported_protocol_bindings=[BINDING],
            use_client_preference=True,
            grpc_channel_factory=grpc.aio.insecure_channel,
        )
        return ClientFactory(config).create(card)

    client, whole = client_of(True), client_of(False)
    seen = set()
    for number in range(8):
        task = await task_of(client if number % 2 else whole, "task")
        assert task.status.state == TaskState.TASK_STATE_COMPLETED, task
        seen |= who(task)
        asked = await task_of(client, "ask")
        assert asked.status.state == TaskState.TASK_STATE_INPUT_REQUIRED, asked
        done = await task_of(client, "go on", task=asked.id, context=asked.context_id)
        assert (done.id, done.context_id) == (asked.id, asked.context_id)
        assert done.status.state == TaskState.TASK_STATE_COMPLETED and len(who(done)) == 1, done
    assert len(seen) == (1 if BARE else 2), f"both agents are asked: {seen}"

    event = await last(whole.send_message(request("hi")))
    assert event.message.parts[0].text.startswith("hello from"), event

    events = [it async for it in client.send_message(request("slow"))]
    assert len(events) >= 7 and len({ids(it) for it in events}) == 1, events
    stream = client.send_message(request("slow"))
    first = await anext(stream)
    again = [it async for it in client.subscribe(SubscribeToTaskRequest(id=ids(first)[0]))]
    assert {ids(it) for it in again} == {ids(first)}, again
    assert again[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED, again[-1]
    await stream.aclose()

    stream = client.send_message(request("hang"))
    first = await anext(stream)
    cancelled = await client.cancel_task(CancelTaskRequest(id=ids(first)[0]))
    assert (cancelled.id, cancelled.status.state) == (ids(first)[0], TaskState.TASK_STATE_CANCELED), cancelled
    await stream.aclose()

    for forged in ["forged", task.id[:-2], task.context_id]:
        await refused(client.get_task(GetTaskRequest(id=forged)), "TaskNotFoundError", "MethodNotFoundError", "A2AClientError")
    push = TaskPushNotificationConfig(task_id=asked.id, id="p", url="https://192.0.2.1/news")
    made = await client.create_task_push_notification_config(push)
    assert made.task_id == asked.id, made
    got = await client.get_task_push_notification_config(GetTaskPushNotificationConfigRequest(task_id=asked.id, id="p"))
    assert (got.task_id, got.url) == (asked.id, push.url), got
    if "list" not in sys.argv:
        listed = await client.list_task_push_notification_configs(ListTaskPushNotificationConfigsRequest(task_id=asked.id))
        assert [it.task_id for it in listed.configs] == [asked.id], listed
        await client.delete_task_push_notification_config(DeleteTaskPushNotificationConfigRequest(task_id=asked.id, id="p"))
    for url in [] if BARE else ["http://127.0.0.1/", "http://169.254.169.254/latest"]:
        push.url = url
        await refused(client.create_task_push_notification_config(push))

    extended = await client.get_extended_agent_card(GetExtendedAgentCardRequest())
    assert extended.name == "agent, extended" or BINDING == "GRPC", extended.name
    assert BARE or all(AUTHORITY in it.url for it in extended.supported_interfaces), extended
    print(f"1.0 client, {BINDING}: ok", flush=True)


asyncio.run(main())

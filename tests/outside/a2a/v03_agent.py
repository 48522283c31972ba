"""An agent on the SDK of A2A 0.3, over all three bindings.

    v03_agent.py NAME HTTP_PORT GRPC_PORT
"""

import asyncio
import sys

import grpc
import httpx
import uvicorn
from a2a.grpc import a2a_pb2_grpc
from a2a.server.agent_execution import AgentExecutor
from a2a.server.apps import A2ARESTFastAPIApplication, A2AStarletteApplication
from a2a.server.request_handlers import DefaultRequestHandler, GrpcHandler
from a2a.server.tasks import (
    BasePushNotificationSender,
    InMemoryPushNotificationConfigStore,
    InMemoryTaskStore,
    TaskUpdater,
)
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Part, TextPart
from a2a.utils import new_agent_text_message, new_task

NAME, HTTP, GRPC = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class Executor(AgentExecutor):
    """Says who it is in artifacts; what it does stands in the message."""

    async def execute(self, context, queue):
        text = context.get_user_input()
        if text == "hi":
            await queue.enqueue_event(new_agent_text_message(f"hello from {NAME}", context.context_id))
            return
        task = context.current_task
        if task is None:
            task = new_task(context.message)
            await queue.enqueue_event(task)
        updater = TaskUpdater(queue, task.id, task.context_id)
        await updater.start_work()
        if text == "ask":
            await updater.requires_input(updater.new_agent_message([Part(root=TextPart(text="which?"))]), final=True)
            return
        if text == "hang":
            await asyncio.Event().wait()
        for number in range(5 if text == "slow" else 1):
            if text == "slow":
                await asyncio.sleep(0.3)
            await updater.add_artifact([Part(root=TextPart(text=NAME))], artifact_id=f"a{number}")
        await updater.complete()

    async def cancel(self, context, queue):
        await TaskUpdater(queue, context.task_id, context.context_id).cancel()


def card(name):
    http = f"http://127.0.0.1:{HTTP}"
    return AgentCard(
        name=name,
        description="says who it is",
        version="1",
        url=f"{http}/rpc",
        preferred_transport="JSONRPC",
        additional_interfaces=[
            AgentInterface(url=f"{http}/rpc", transport="JSONRPC"),
            AgentInterface(url=http, transport="HTTP+JSON"),
            AgentInterface(url=f"127.0.0.1:{GRPC}", transport="GRPC"),
        ],
        capabilities=AgentCapabilities(streaming=True, push_notifications=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="who", name="who", description="who", tags=["who"])],
        supports_authenticated_extended_card=True,
    )


async def main():
    pushes = InMemoryPushNotificationConfigStore()
    handler = DefaultRequestHandler(
        agent_executor=Executor(),
        task_store=InMemoryTaskStore(),
        push_config_store=pushes,
        push_sender=BasePushNotificationSender(httpx.AsyncClient(), pushes),
    )
    rest = A2ARESTFastAPIApplication(card("agent"), handler, extended_agent_card=card("agent, extended")).build()
    rpc = A2AStarletteApplication(card("agent"), handler, extended_agent_card=card("agent, extended"))
    rpc.add_routes_to_app(rest, rpc_url="/rpc")
    server = grpc.aio.server()
    a2a_pb2_grpc.add_A2AServiceServicer_to_server(GrpcHandler(card("agent"), handler), server)
    server.add_insecure_port(f"127.0.0.1:{GRPC}")
    await server.start()
    config = uvicorn.Config(rest, host="127.0.0.1", port=HTTP, log_level="warning")
    await uvicorn.Server(config).serve()


asyncio.run(main())

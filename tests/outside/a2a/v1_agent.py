"""An agent on the SDK of A2A 1.0, over all three bindings, for clients of both versions.

    v1_agent.py NAME HTTP_PORT GRPC_PORT
"""

import asyncio
import sys

import grpc
import httpx
import uvicorn
from a2a.compat.v0_3 import a2a_v0_3_pb2_grpc
from a2a.compat.v0_3.grpc_handler import CompatGrpcHandler
from a2a.helpers import proto_helpers as make
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler, GrpcHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import (
    BasePushNotificationSender,
    InMemoryPushNotificationConfigStore,
    InMemoryTaskStore,
    TaskUpdater,
)
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Part, TaskState, a2a_pb2_grpc
from starlette.applications import Starlette

NAME, HTTP, GRPC = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class Executor(AgentExecutor):
    """Says who it is in artifacts; what it does stands in the message."""

    async def execute(self, context, queue):
        text = context.get_user_input()
        if text == "hi":
            await queue.enqueue_event(make.new_text_message(f"hello from {NAME}", context_id=context.context_id))
            return
        if context.current_task is None:
            await queue.enqueue_event(make.new_task_from_user_message(context.message))
        updater = TaskUpdater(queue, context.task_id, context.context_id)
        await updater.start_work()
        if text == "ask":
            await updater.requires_input(updater.new_agent_message([Part(text="which?")]))
            return
        if text == "hang":
            await asyncio.Event().wait()
        for number in range(5 if text == "slow" else 1):
            if text == "slow":
                await asyncio.sleep(0.3)
            await updater.add_artifact([Part(text=NAME)], artifact_id=f"a{number}")
        await updater.complete()

    async def cancel(self, context, queue):
        await TaskUpdater(queue, context.task_id, context.context_id).cancel()


def card(name):
    http = f"http://127.0.0.1:{HTTP}"
    interfaces = [
        AgentInterface(url=url, protocol_binding=binding, protocol_version=version)
        for url, binding in [(f"{http}/rpc", "JSONRPC"), (http, "HTTP+JSON"), (f"127.0.0.1:{GRPC}", "GRPC")]
        for version in ["1.0", "0.3"]
    ]
    return AgentCard(
        name=name,
        description="says who it is",
        version="1",
        supported_interfaces=interfaces,
        capabilities=AgentCapabilities(streaming=True, push_notifications=True, extended_agent_card=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="who", name="who", description="who", tags=["who"])],
    )


async def main():
    pushes = InMemoryPushNotificationConfigStore()
    handler = DefaultRequestHandler(
        agent_executor=Executor(),
        task_store=InMemoryTaskStore(),
        agent_card=card("agent"),
        extended_agent_card=card("agent, extended"),
        push_config_store=pushes,
        push_sender=BasePushNotificationSender(httpx.AsyncClient(), pushes),
    )
    routes = create_agent_card_routes(card("agent"))
    routes += create_jsonrpc_routes(handler, "/rpc", enable_v0_3_compat=True)
    routes += create_rest_routes(handler, enable_v0_3_compat=True)
    server = grpc.aio.server()
    a2a_pb2_grpc.add_A2AServiceServicer_to_server(GrpcHandler(handler), server)
    a2a_v0_3_pb2_grpc.add_A2AServiceServicer_to_server(CompatGrpcHandler(handler), server)
    server.add_insecure_port(f"127.0.0.1:{GRPC}")
    await server.start()
    config = uvicorn.Config(Starlette(routes=routes), host="127.0.0.1", port=HTTP, log_level="warning")
    await uvicorn.Server(config).serve()


asyncio.run(main())

"""What the behaviour tests share: an environment with whatever workflows a test defines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from wfctl import Workflow
from wfd.testing import WorkflowEnvironment

Serve = Callable[..., Awaitable[WorkflowEnvironment]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`env = await serve(order_wf, payment_wf)`; it ends with the test."""
    async with AsyncExitStack() as stack:

        async def start(*workflows: Workflow) -> WorkflowEnvironment:
            return await stack.enter_async_context(WorkflowEnvironment(workflows))

        yield start

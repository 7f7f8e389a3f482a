"""The `openai` client: `openai_client.py HOST:PORT COUNT RATE`, with the interpreter of .servers/llama.

Half of the calls are streamed; chat, plain completions, and embeddings that the server refuses. Prints as JSON what the
client saw: calls by operation and code, tokens by `usage`, finish reasons, models, seconds.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

import httpx2
import openai

WORKERS = 4


async def call(client: Any, turn: int, log: Counter[str]) -> None:
    """One call; what the client saw goes into the log."""
    stream = turn % 2 == 1
    operation = "embeddings" if turn % 50 == 49 else "completions" if turn % 5 == 0 else "chat"
    more: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    if stream:
        # llama.cpp closes the connection after a stream and does not say so: the next call on it may fail, with a
        # relay between them a little more often, because the end comes one hop later. Said by us, nobody reuses it.
        more["extra_headers"] = {"Connection": "close"}
    try:
        if operation == "embeddings":
            await client.embeddings.create(model="whatever", input="a")
        elif operation == "completions":
            found = await client.completions.create(model="whatever", prompt="once", max_tokens=1 + turn % 4, **more)
            await read(found, stream, log)
        else:
            said = [{"role": "user", "content": "hi" * (turn % 7)}]
            found = await client.chat.completions.create(
                model="whatever", messages=said, max_tokens=1 + turn % 4, **more
            )
            await read(found, stream, log)
        log[f"call {operation} 200"] += 1
    except openai.APIStatusError as error:
        log[f"call {operation} {error.status_code}"] += 1
    except openai.APIConnectionError:
        log[f"failed {operation}"] += 1


async def read(found: Any, stream: bool, log: Counter[str]) -> None:
    """An answer, or all parts of one."""
    parts = [part async for part in found] if stream else [found]
    log[f"model {parts[0].model}"] += 1
    for part in parts:
        for choice in part.choices:
            if choice.finish_reason is not None:
                log[f"finish {choice.finish_reason}"] += 1
    usage = next(p.usage for p in reversed(parts) if p.usage is not None)
    log["input tokens"] += usage.prompt_tokens
    log["output tokens"] += usage.completion_tokens


async def main() -> None:
    """Calls on a schedule, at most `WORKERS` at a time."""
    address, count, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    log: Counter[str] = Counter()
    turns = iter(range(count))
    start = time.perf_counter()
    # The library's connections expire after 5 s without use, and so do llama.cpp's: a race that ends calls.
    http = openai.DefaultAsyncHttpxClient(limits=httpx2.Limits(keepalive_expiry=2.0))
    made = openai.AsyncOpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=0, http_client=http)
    async with made as client:

        async def work() -> None:
            for turn in turns:
                if rate:
                    await asyncio.sleep(max(start + turn / rate - time.perf_counter(), 0))
                await call(client, turn, log)

        await asyncio.gather(*(work() for _ in range(WORKERS)))
    print(json.dumps({**log, "seconds": time.perf_counter() - start}))


asyncio.run(main())

"""Answers of providers, built from JSON values."""

import json


def sse(*chunks):
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)


def openai_text(content):
    return _openai_chunk({"content": content})


def openai_reasoning(content):
    return _openai_chunk({"content": None, "reasoning_content": content})


def openai_stream(*chunks):
    return sse(*chunks, _openai_chunk({}, "stop")) + b"data: [DONE]\n\n"


def _openai_chunk(delta, finish_reason=None):
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice], "usage": None}

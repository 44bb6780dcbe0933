"""The refusals of providers, in their own words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ContextLengthExceeded, RequestRefused, SystemRoleRefused, UpstreamUnpaid
from shared.llm.wire_format import error_for_response

OPENAI_LENGTH = (
    "This model's maximum context length is 8192 tokens. However, you requested 9010 tokens "
    "(4914 in the messages, 4096 in the completion). Please reduce the length of the messages."
)
VLLM_LENGTH = (
    "This model's maximum context length is 262144 tokens. However, you requested 0 output tokens and your "
    "prompt contains at least 262145 input tokens, for a total of at least 262145 tokens."
)


def error(message, **fields):
    return {"error": {"message": message, **fields}}


def refused(status, body):
    return error_for_response(status, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    ("status", "body", "limit", "prompt_tokens"),
    [
        (400, error(OPENAI_LENGTH, code="context_length_exceeded"), 8192, 4914),
        (400, error("m", type="invalid_request_error", code="context_length_exceeded"), None, None),
        (400, error("Your input exceeds the context window of this model."), None, None),
        (400, {"object": "error", "message": VLLM_LENGTH, "type": "BadRequestError"}, 262144, 262145),
        (
            400,
            error(
                "'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum context "
                "length is 4096 tokens and your request has 30 input tokens (4096 > 4096 - 30).",
                code=400,
            ),
            4096,
            30,
        ),
        # Anthropic
        (
            400,
            error("prompt is too long: 213462 tokens > 200000 maximum", type="invalid_request_error"),
            200000,
            213462,
        ),
        (
            400,
            error("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease"),
            200000,
            190000,
        ),
        (413, error("Request exceeds the maximum size", type="request_too_large"), None, None),
        # Gemini, also in a list
        (
            400,
            [
                error(
                    "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575)."
                )
            ],
            1048575,
            1196265,
        ),
        (
            400,
            error("the input token count is 32825 but model only supports up to 32768.", code=400),
            32768,
            32825,
        ),
        # llama.cpp, with 400 and, in older versions, 500
        (
            400,
            error(
                "request (66202 tokens) exceeds the available context size (65536 tokens), try increasing it",
                type="exceed_context_size_error",
                n_prompt_tokens=66202,
                n_ctx=65536,
            ),
            65536,
            66202,
        ),
        (
            500,
            error("the request exceeds the available context size. try increasing it", n_ctx=4096),
            4096,
            None,
        ),
        # Mistral
        (
            400,
            {
                "object": "error",
                "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 "
                "maximum context length",
                "type": "invalid_request_invalid_args",
            },
            32768,
            40000,
        ),
        # Ollama
        (400, {"error": "prompt too long; exceeded max context length by 12 tokens"}, None, None),
        (
            400,
            {
                "error": "input length (1407762 tokens) exceeds the model's maximum context length "
                "(262144 tokens)"
            },
            262144,
            1407762,
        ),
        # OpenRouter, also with the text of the provider behind it
        (
            400,
            error(
                "This endpoint's maximum context length is 8192 tokens. However, you requested about 9000 "
                "tokens (8000 of text input, 1000 in the output).",
                code=400,
            ),
            8192,
            8000,
        ),
        (
            400,
            error("Provider returned error", metadata={"raw": json.dumps(error(OPENAI_LENGTH))}),
            8192,
            4914,
        ),
        (
            400,
            error("Input length 131393 exceeds the maximum allowed input length of 131040 tokens."),
            131040,
            131393,
        ),
        # Groq
        (
            400,
            error("Please reduce the length of the messages or completion.", code="context_length_exceeded"),
            None,
            None,
        ),
        (
            413,
            error(
                "Request too large for model `m` in organization `o` on tokens per minute (TPM): "
                "Limit 6000, Requested 7000, please reduce your message size and try again.",
                type="tokens",
                code="rate_limit_exceeded",
            ),
            6000,
            None,
        ),
        # OpenAI
        (
            429,
            error(
                "Request too large for gpt-4o in organization o on tokens per min (TPM): Limit 30000, "
                "Requested 42000. The input or output tokens must be reduced in order to run successfully.",
                type="tokens",
                code="rate_limit_exceeded",
            ),
            30000,
            None,
        ),
        # xAI, Together, Moonshot, LM Studio, Hugging Face, Bedrock, MiniMax
        (
            400,
            {
                "code": "Client specified an invalid argument",
                "error": "This model's maximum prompt length is 131072 but the request contains 537812 "
                "tokens.",
            },
            131072,
            537812,
        ),
        (
            400,
            error("The input (9000 tokens) is longer than the model's context length (8192 tokens)."),
            8192,
            9000,
        ),
        (400, error("Your request exceeded model token limit: 8192 (requested: 9000)"), 8192, None),
        (
            400,
            {
                "error": "The number of tokens to keep from the initial prompt is greater than the context "
                "length"
            },
            None,
            None,
        ),
        (
            422,
            {
                "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: "
                "5000 `inputs` tokens and 1000 `max_new_tokens`",
                "error_type": "validation",
            },
            4096,
            5000,
        ),
        (400, {"message": "Input is too long for requested model."}, None, None),
        (400, error("invalid params, context window exceeds limit"), None, None),
        (413, b"<html><title>413 Request Entity Too Large</title></html>", None, None),
    ],
)
def test_a_prompt_that_is_too_long(status, body, limit, prompt_tokens):
    error = refused(status, body)
    assert isinstance(error, ContextLengthExceeded)
    assert (error.status, error.code, error.retryable) == (400, "context_length_exceeded", False)
    assert (error.limit, error.prompt_tokens) == (limit, prompt_tokens)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (
            400,
            error(
                "The response was filtered due to the prompt triggering Azure OpenAI's content management "
                "policy.",
                type=None,
                param="prompt",
                code="content_filter",
                innererror={"code": "ResponsibleAIPolicyViolation"},
            ),
        ),
        (400, error("Invalid prompt: your prompt was flagged", code="invalid_prompt")),
        (400, error("Output blocked by content filtering policy", type="invalid_request_error")),
        (400, error("Content Exists Risk", type="invalid_request_error", code="invalid_request_error")),
        (400, {"detail": "Content Exists Risk"}),
        (403, error("m requires moderation. Your input was flagged for harassment", code=403)),
        (
            403,
            {
                "code": "The caller does not have permission to execute the specified operation",
                "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO",
            },
        ),
        (400, error("Input data may contain inappropriate content.", code="data_inspection_failed")),
    ],
)
def test_a_question_that_a_content_filter_refuses(status, body):
    error = refused(status, body)
    assert (error.status, error.code, error.retryable) == (400, "content_filter", False)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, error("The model `m` does not exist or you do not have access to it.", code="model_not_found")),
        (403, error("Project `p` does not have access to model `m`", code="model_not_found")),
        (404, error("model: m", type="not_found_error")),
        (404, error("The API deployment for this resource does not exist.", code="DeploymentNotFound")),
        (404, {"object": "error", "message": "The model `m` does not exist.", "type": "NotFoundError"}),
        (404, {"error": 'model "m" not found, try pulling it first'}),
        (404, [error("models/m is not found for API version v1main", code=404, status="NOT_FOUND")]),
        (400, {"object": "error", "message": "Invalid model: m", "type": "invalid_model", "code": "1500"}),
        (400, error("Model Not Exist", type="invalid_request_error")),
        (400, error("m is not a valid model ID", code=400)),
        (404, error("No endpoints found for m.", code=404)),
        (400, error("The model `m` has been decommissioned", code="model_decommissioned")),
        (410, {"detail": "The model 'm' has reached its end of life on 2026-01-01"}),
    ],
)
def test_a_model_that_the_provider_does_not_have(status, body):
    error = refused(status, body)
    assert (error.status, error.code, error.retryable) == (400, "model_not_found", False)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"object": "error", "message": "System role not supported", "type": "BadRequestError"}),
        (500, error("Error in template: System role not supported", code=500, type="server_error")),
        (400, [error("Developer instruction is not enabled for models/gemma-3-1b-it", code=400)]),
        (400, {"message": "Conversation roles must alternate user/assistant/user/assistant/..."}),
    ],
)
def test_a_template_without_a_system_role(status, body):
    error = refused(status, body)
    assert isinstance(error, SystemRoleRefused)
    assert (error.status, error.code) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (error("Unsupported value: 'temperature' does not support 0.7", param="temperature"), "temperature"),
        (error("Unsupported parameter: 'max_tokens' is not supported with this model."), "max_tokens"),
        (error("max_tokens: 200000 > 64000, which is the maximum allowed number"), "max_tokens"),
        (error("messages.0.content: Field required", type="invalid_request_error"), "messages"),
        ({"detail": [{"loc": ["body", "temperature"], "msg": "Input should be less than 2"}]}, "temperature"),
        (error("secret_name: unknown"), None),
        (error("no"), None),
        ({}, None),
        (b"", None),
    ],
)
@pytest.mark.parametrize("status", [400, 422])
def test_a_bad_request_names_the_parameter(status, body, field):
    error = refused(status, body)
    assert isinstance(error, RequestRefused)
    assert (error.status, error.code, error.field) == (400, "invalid_request", field)
    assert error.message == "the model provider refused the request" + (f": {field}" if field else "")


@pytest.mark.parametrize(
    ("status", "body", "code", "retryable"),
    [
        (400, error("Your credit balance is too low to access the API."), "upstream_auth", False),
        (429, error("You exceeded your quota", code="insufficient_quota"), "upstream_auth", False),
        (402, error("Insufficient Balance"), "upstream_auth", False),
        (400, [error("API key not valid. Please pass a valid API key.")], "upstream_auth", False),
        (400, {"error": "Incorrect API key provided: xa***"}, "upstream_auth", False),
        (401, error("content_filter"), "upstream_auth", False),
        (403, error("forbidden"), "upstream_auth", False),
        # A wrong base URL is the deployment's fault.
        (404, {"detail": "Not Found"}, "upstream_rejected", False),
        (404, b"<html>the model was not found</html>", "upstream_rejected", False),
        (405, {}, "upstream_rejected", False),
        # The same words in errors that may pass.
        (429, error("Rate limit: too many tokens for the context window"), "upstream_rate_limited", True),
        (400, error("Throttling: too many tokens, please wait"), "invalid_request", False),
        (503, error("The model is not available at the moment"), "upstream_overloaded", True),
        (500, error("model not found in the cache", type="server_error"), "upstream_error", True),
    ],
)
def test_other_errors(status, body, code, retryable):
    error = refused(status, body)
    assert (error.code, error.retryable) == (code, retryable)


def test_an_unpaid_account_is_told_apart_from_a_wrong_key():
    assert isinstance(refused(402, {}), UpstreamUnpaid)
    assert isinstance(refused(400, error("Your credit balance is too low")), UpstreamUnpaid)
    assert not isinstance(refused(401, {}), UpstreamUnpaid)


def test_fields_that_quote_the_request_are_not_read():
    quote = "maximum context length, content_filter, model not found"
    detail = [{"loc": ["body", "messages", 0], "msg": "Field required", "input": quote}]
    assert refused(400, {"detail": detail}).code == "invalid_request"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: (
        st.lists(children)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "detail", "metadata", "raw"]), children
        )
    ),
    max_leaves=20,
)


@given(status=st.integers(201, 599), body=JSON.map(lambda value: json.dumps(value).encode()) | st.binary())
def test_any_body_is_some_error_without_the_text_of_the_vendor(status, body):
    error = error_for_response(status, b'{"error":{"message":"org-7f3a","param":"org-7f3a"}}' + body)
    assert "org-7f3a" not in json.dumps(error.body())
    error = error_for_response(status, body)
    assert error.status in {400, 502}

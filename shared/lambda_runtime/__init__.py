"""A Lambda runtime for ASGI apps whose responses stream.

`python -m shared.lambda_runtime package.module:app` serves one app. The loop calls the modules below it:
`loop` → `runtime_api` → `http_connection`; `loop` → `events`, `lifespan`.
"""

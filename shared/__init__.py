"""Code that both functions share: errors, settings, tokens, CORS, database, model client, costs, runtime."""

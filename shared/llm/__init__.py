"""Asks language models: the registry of providers, the client, and one file for each wire format."""

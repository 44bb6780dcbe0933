"""Development tools: the local server, the Lambda emulator, the mock provider. They are not deployed."""

"""Tools of a checkout: the local server, the Lambda emulator, the mock provider. None of it is deployed."""

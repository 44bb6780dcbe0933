"""How the commands of the Makefile start and end.

A command that fails for a known reason prints one sentence. Signals end a command in the same way as Ctrl-C,
so that it stops what it started. This module imports only the standard library: `make setup` uses it before
any package is installed.
"""

import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from types import FrameType

_INTERRUPTED = 130


class CommandError(Exception):
    """The command cannot continue. The message is one sentence that says what to do."""


def run(main: Callable[[], int]) -> int:
    """Runs a command and returns its exit code: 2 for a CommandError, 130 for an interrupt."""
    signals = end_signals()
    _interrupt_on(signals)
    try:
        return main()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except CommandError as error:
        print(error, file=sys.stderr)
        return 2
    except PermissionError as error:
        print(_not_permitted(error), file=sys.stderr)
        return 2
    finally:
        # Nothing interrupts the exit handlers, which stop Postgres.
        for number in signals:
            signal.signal(number, signal.SIG_IGN)


def end_signals() -> list[signal.Signals]:
    """The signals that end a command: Ctrl-C, `kill`, and a closed terminal. nohup ignores the last."""
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return signals


def port(text: str | None, default: int) -> int:
    """The number in the variable PORT, or `default` where the variable is not set. 0 means any free port.
    Raises CommandError."""
    if not text:
        return default
    if not re.fullmatch("[0-9]{1,5}", text, re.ASCII) or int(text) > 65535:
        raise CommandError(f"PORT must be a number from 0 to 65535, for instance PORT={default}.")
    return int(text)


def check_port(number: int) -> None:
    """Raises CommandError if no server can listen on this port of 127.0.0.1."""
    with socket.socket() as listener:
        # As asyncio and uvicorn do. A port whose last server has just ended is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", number))
            listener.listen()
        except PermissionError:
            raise CommandError(
                f"Port {number} is reserved: set PORT to a number from 1024 to 65535."
            ) from None
        except OSError:
            other = number + 1 if number < 65535 else number - 1
            raise CommandError(
                f"Port {number} is in use: stop the program that uses it, or set another PORT, for instance"
                f" PORT={other}."
            ) from None


def _interrupt_on(signals: Sequence[signal.Signals]) -> None:
    """Makes the first signal raise KeyboardInterrupt. Later ones do nothing: `timeout` and `make` each send
    SIGTERM, and the second one must not end the clean-up."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in signals:
        signal.signal(number, interrupt)


def _not_permitted(error: PermissionError) -> str:
    return (
        f"{error.filename} cannot be used: it belongs to another user. Remove it, or change its owner:"
        f" sudo chown -R {os.environ.get('USER', '$USER')} .venv .local"
    )

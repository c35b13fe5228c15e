"""``fer-id VERB [PATH...] [key=value...]``: dispatch to a verb, its error messages and exit codes.

Only modules that every verb needs are imported here; torch, pandas and others are imported by the verbs that use them.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from experiments.interrupts import Terminated, machine_fault, terminable
from experiments.own_code import own_fault
from experiments.verbs.table import VERBS
from fer_id.allocator import reuse_freed_memory
from fer_id.errors import MOST_CHARACTERS, FerIdError, brief, cut, quoted
from fer_id.exports import imported
from fer_id.places import figure_cache
from fer_id.progress import say

DONE, OUR_FAULT, USERS_FAULT, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143

CANNOT_WRITE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than is allowed here (ulimit -f)",
    errno.EMFILE: "more files are open than is allowed here (ulimit -n)",
    errno.ENFILE: "more files are open than the machine allows",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.ELOOP: "a link leads to itself",
    errno.ENAMETOOLONG: "a name is too long for this disk",
    errno.EEXIST: "a file stands where a folder is needed",
    errno.ENOTDIR: "a file stands where a folder is needed",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, of the arguments after ``fer-id`` (None: those of the process); return the exit code: 0 done, 2
    a fault that the user can mend, 1 a fault of fer-id, 130 interrupted, 143 terminated."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller (`>&-`); open until the end
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # for terminals with ASCII only, and file names that are no text
            stream.reconfigure(errors="backslashreplace")
    os.environ.setdefault("MPLCONFIGDIR", str(figure_cache()))
    return _flushed(_ended(list(sys.argv[1:] if argv is None else argv)))


def _ended(argv: list[str]) -> int:
    """Run one command and return its exit code, whichever way it ends."""
    try:
        with terminable():
            return _dispatch(argv)
    except FerIdError as error:
        message = f"fer-id: {error}"
        return _say(message if error.whole else brief(message), USERS_FAULT)
    except KeyboardInterrupt:
        return _say("\nfer-id: interrupted; the same command takes up what can be resumed", INTERRUPTED)
    except Terminated:
        return _say("fer-id: terminated; the same command takes up what can be resumed", TERMINATED)
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        return DONE
    except UnicodeEncodeError as error:
        if not any(unicodedata.category(letter) == "Cs" for letter in error.object):
            return _our_fault(error)
        return _say(f"fer-id: {error.object[:60]!a}: a name that is not UTF-8 text; rename that file", USERS_FAULT)
    except OSError as error:
        if error.errno in CANNOT_WRITE:
            where = f": {cut(error.filename, MOST_CHARACTERS // 2)}" if error.filename else ""
            left = "nothing half-written is left, and the same command goes on once this is mended"
            return _say(f"fer-id: {CANNOT_WRITE[error.errno]}{where}; {left}", USERS_FAULT)
        return _our_fault(error)
    except Exception as error:
        if (fault := machine_fault(error)) is not None:  # such as memory for building a model, outside a training
            return _say(f"fer-id: {fault}", USERS_FAULT)
        return _our_fault(error)


def _flushed(code: int) -> int:
    """Flush standard output and return the exit code of the command, or 2 where the output cannot be written."""
    try:
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        result = code
    except OSError as error:
        result = code or _say(f"fer-id: standard output: {CANNOT_WRITE.get(error.errno or 0, error)}", USERS_FAULT)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise the interpreter flushes again, and fails
    return result


def _dispatch(argv: list[str]) -> int:
    """Run the verb, or print its help; return the exit code."""
    from experiments.help_page import overview, verb_help

    name, arguments = (argv[0], argv[1:]) if argv else ("--help", [])
    if name in ("-h", "--help", "help"):
        print(overview(VERBS))
        return DONE
    if name not in VERBS:
        near = get_close_matches(name, VERBS, n=1)
        meant = f"; did you mean {near[0]}?" if near else ";"
        return _say(f"fer-id: there is no verb {quoted(name)}{meant} Known: {', '.join(VERBS)}", USERS_FAULT)
    verb = VERBS[name]
    schema = imported(verb.config)
    if any(argument in ("-h", "--help") for argument in arguments):
        print(verb_help(name, verb, schema, arguments))
        return DONE
    from experiments.settings.loading import load

    config = load(schema, arguments, verb.paths)  # first, so that mistakes are reported before torch is imported
    reuse_freed_memory()
    result = imported(verb.run)(config)
    if result is not None:
        print(result)
    return DONE


def _say(message: str, code: int) -> int:
    say(message)
    return code


def _our_fault(error: Exception) -> int:
    """Print an error that nothing above expected, and return 1; or 2 where code of somebody's own raised it."""
    if (own := own_fault(error)) is not None:
        return _say(f"fer-id: {own}", USERS_FAULT)
    traceback.print_exc()
    return _say("fer-id: this is a fault of fer-id, not of your input; please report the lines above", OUR_FAULT)


if __name__ == "__main__":
    sys.exit(main())

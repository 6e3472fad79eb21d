"""`tokenwire keys`: makes API keys."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from tokenwire.security.key_file import add_key
from tokenwire.security.watched_files import SecurityFileError

app = App(name="keys")

_Above0 = Annotated[float | None, Parameter(validator=Number(gt=0))]


@app.command
def add(
    name: str,
    /,
    *,
    api_keys: Annotated[Path, Parameter(env_var="TOKENWIRE_API_KEYS")],
    model: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    max_concurrent: Annotated[int | None, Parameter(validator=Number(gt=0))] = None,
    requests_per_minute: _Above0 = None,
    tokens_per_minute: _Above0 = None,
    expires: datetime | None = None,
) -> int:
    """Make a key, print it once, and add its hash to a file that `tokenwire serve --api-keys` reads.

    Parameters
    ----------
    name
        Whose key it is, as logs and metrics say it.
    api_keys
        The file; made if there is none.
    model
        A model that the key may use, once for each; default: all.
    max_concurrent
        Most completions of the key that wait or run at once.
    requests_per_minute
        Most completions that are begun a minute.
    tokens_per_minute
        Most tokens a minute, of prompts and of answers.
    expires
        Day or time (UTC) from which on the key is refused.
    """
    limits = {
        "models": list(model) or None,
        "max_concurrent": max_concurrent,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "expires": expires,
    }
    try:
        key = add_key(api_keys, name, {field: value for field, value in limits.items() if value is not None})
    except SecurityFileError as error:
        print(f"tokenwire: {error}", file=sys.stderr)
        return 1
    print(f"The key of {name} is shown this once; {api_keys} has its hash.", file=sys.stderr)
    print(key)
    return 0

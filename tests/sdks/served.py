"""The server that the clients are pointed at, and a type to answer with."""

import os
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

URL = os.environ["TOKENWIRE_URL"]
"""Base URL of the OpenAI API, with `/v1`."""
MODEL = os.environ["TOKENWIRE_MODEL"]
QUESTION = "What is the weather in Paris, in celsius?"
TIMEOUT_S = 100


class City(BaseModel):
    """A city."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=12)]
    size: Literal["small", "large"]

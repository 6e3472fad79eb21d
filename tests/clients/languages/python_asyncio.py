"""The Python client, with its `AsyncClient`."""

from dataclasses import replace

from clients.languages import python

LANGUAGE = replace(python.LANGUAGE, name="python-asyncio", driver=(*python.LANGUAGE.driver[:-1], "asyncio"))

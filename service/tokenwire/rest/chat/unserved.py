"""The fields of the OpenAI API, and of its common extensions, that the contract does not have."""

from collections.abc import Callable, Mapping

from tokenwire.rest.json_reader import JsonReader, shown

# Setting one of these to anything but a listed value asks for another answer than we would give.
_NEUTRAL_VALUES: Mapping[str, tuple[object, ...]] = {
    "audio": (),
    "function_call": ("none",),
    "functions": ([],),
    "guided_choice": (),  # these are `response_format` here
    "guided_grammar": (),
    "guided_json": (),
    "guided_regex": (),
    "modalities": (["text"],),
    "prediction": (),
    "reasoning_effort": (),
    "verbosity": ("medium",),
    "web_search_options": (),
}

# These change no answer: they label the caller, or say how to use a cache.
_HARMLESS: Mapping[str, Callable[[JsonReader, object, str], object]] = {
    "prompt_cache_key": JsonReader.string,
    "prompt_cache_retention": JsonReader.string,
    "safety_identifier": JsonReader.string,
}

# Parts of a message in the history.
_NEUTRAL_IN_MESSAGE: Mapping[str, tuple[object, ...]] = {
    "audio": (),
    "function_call": (),
}


def read_unserved(reader: JsonReader, name: str, value: object) -> None:
    """Look at a field of a request that the contract does not have: refused, harmless, or known to nobody."""
    if name in _HARMLESS:
        _HARMLESS[name](reader, value, name)
    elif name in _NEUTRAL_VALUES:
        refuse_unless(reader, name, value, neutral=_NEUTRAL_VALUES[name])
    else:
        reader.ignored.append(name)


def read_unserved_in_message(reader: JsonReader, path: str, name: str, value: object) -> None:
    """The same for a field of a message at `path`."""
    if name in _NEUTRAL_IN_MESSAGE:
        refuse_unless(reader, f"{path}.{name}", value, neutral=_NEUTRAL_IN_MESSAGE[name])
    elif name != "annotations":  # output only: an answer that is sent back has it
        reader.ignored.append(f"{path}.{name}")


def refuse_unless(reader: JsonReader, path: str, value: object, *, neutral: tuple[object, ...]) -> None:
    """Refuse a value that is none of the neutral ones."""
    if any(type(value) is type(allowed) and value == allowed for allowed in neutral):
        return
    rule = f"must be absent or {' or '.join(map(shown, neutral))}" if neutral else "must be absent"
    reader.reject(path, "unsupported_parameter", f"is not supported here and {rule}; got {shown(value)}")

"""Finding a checkpoint: a folder, a Hugging Face hub id, or a GGUF file that is converted once into a cached folder."""

import fcntl
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from tokenwire.engine.protocol import EngineStartError, Progress

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Raise it when a conversion would give another result: old cached folders are then not found any more.
_CONVERSION_VERSION = 1
_SAMPLE_BYTES = 4096
_SAMPLES_PER_FILE = 256

OnProgress = Callable[[Progress], None]


def resolve_checkpoint(model: str, *, gguf_dtype: torch.dtype, cache_dir: Path, on_progress: OnProgress) -> Path:
    """The folder of a checkpoint in Hugging Face form; a GGUF file is dequantised to `gguf_dtype`.

    Raises `EngineStartError` with what the operator can do.
    """
    path = Path(model).expanduser()
    if path.is_file():
        if path.suffix != ".gguf":
            raise EngineStartError(f"{model} is a file but not a .gguf file; give a checkpoint folder or a GGUF file")
        return _converted_gguf(path, dtype=gguf_dtype, cache_dir=cache_dir, on_progress=on_progress)
    if path.is_dir():
        return _checked_folder(path)
    if _HUB_ID.fullmatch(model):
        return _download(model, on_progress)
    raise EngineStartError(f"there is no file or folder {model!r}, and it is not a hub id of the form owner/name")


def eos_token_ids(folder: Path) -> tuple[int, ...]:
    """Ids that end a text: those of the generation config, the model config and the tokenizer config, ascending."""
    ids: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        value = _read_json(folder / name).get("eos_token_id")
        ids.update(value if isinstance(value, list) else [value] if isinstance(value, int) else [])
    token = _read_json(folder / "tokenizer_config.json").get("eos_token")
    content = token.get("content") if isinstance(token, dict) else token
    added = _read_json(folder / "tokenizer.json").get("added_tokens", [])
    ids.update(entry["id"] for entry in added if entry["content"] == content)
    return tuple(sorted(ids))


def weights_fingerprint(folder: Path, *, dtype: torch.dtype, weights: str) -> str:
    """Hexadecimal digest of the precision, of how weights are stored, and of samples spread over every weights file.

    Equal weights give equal values. Samples, because hashing a large checkpoint whole takes longer than loading it.
    """
    digest = hashlib.blake2b(f"{dtype} {weights}".encode(), digest_size=16)
    for path in sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin")):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            for sample in range(_SAMPLES_PER_FILE):
                file.seek(sample * max(size - _SAMPLE_BYTES, 0) // (_SAMPLES_PER_FILE - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EngineStartError(f"{path} is not valid JSON: {error}") from error
    return content


def _checked_folder(path: Path) -> Path:
    if (path / "config.json").exists():
        return path
    if gguf_files := sorted(file.name for file in path.glob("*.gguf")):
        raise EngineStartError(f"{path} has no config.json but GGUF files; name one: {', '.join(gguf_files)}")
    raise EngineStartError(f"{path} has no config.json, so it is no checkpoint folder")


def _download(model: str, on_progress: OnProgress) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    on_progress(Progress(f"fetching {model} from the hub"))
    patterns = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "*.txt"]
    try:
        return _checked_folder(Path(snapshot_download(model, allow_patterns=patterns)))
    except RepositoryNotFoundError:
        raise EngineStartError(
            f"the hub has no model {model!r}, or it needs a token (HF_TOKEN); a local folder works too"
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise EngineStartError(f"{model!r} is not in the local hub cache and cannot be fetched: {error}") from None


def _converted_gguf(path: Path, *, dtype: torch.dtype, cache_dir: Path, on_progress: OnProgress) -> Path:
    stat = path.stat()
    identity = f"{_CONVERSION_VERSION}:{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}:{dtype}"
    folder = cache_dir / "converted" / f"{path.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    if not folder.exists():
        on_progress(Progress(f"converting {path.name} (once)"))
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f".{folder.name}.lock")):
            if not folder.exists():  # else another process converted it meanwhile
                _convert_into(folder, path, dtype=dtype)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that one process has at a time, and that ends with the process, however it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _convert_into(folder: Path, path: Path, *, dtype: torch.dtype) -> None:
    """The folder appears whole or not at all."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
    try:
        unfinished.mkdir()
        _convert_gguf(path, unfinished, dtype=dtype)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _convert_gguf(path: Path, folder: Path, *, dtype: torch.dtype) -> None:
    try:
        config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
        loaded = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except Exception as error:  # a damaged file makes the reader raise nearly anything
        raise EngineStartError(f"transformers cannot read {path.name}: {error}") from error
    # A model loaded from GGUF refuses to be saved; a fresh one with its weights does not.
    with torch.device("meta"):
        fresh = AutoModelForCausalLM.from_config(config, dtype=dtype)
    fresh.load_state_dict(loaded.state_dict(), assign=True)
    fresh.tie_weights()
    fresh.generation_config = loaded.generation_config
    fresh.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

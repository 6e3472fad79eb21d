"""The options and their rules."""

from pathlib import Path

import pytest

from tokenwire.config import EngineConfig, ModelOptions, ServeConfig, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("1B", 1), ("3KiB", 3072), ("512MiB", 512 << 20), ("1.5GiB", 3 << 29), (" 2 TiB ", 2 << 40)],
)
def test_sizes_are_numbers_with_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "2", "2GB", "GiB", "-1GiB", "1e3MiB", "0GiB", "0.1B", "2gib"])
def test_a_bad_size_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="size") as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


def test_the_served_name_is_given_or_the_hub_id_or_the_file_or_folder(tmp_path: Path) -> None:
    (tmp_path / "my-model").mkdir()
    (tmp_path / "other.gguf").touch()
    assert ModelOptions(model="org/model").name == "org/model"
    assert ModelOptions(model=f"{tmp_path}/my-model/").name == "my-model"
    assert ModelOptions(model=f"{tmp_path}/other.gguf").name == "other"
    assert ModelOptions(model="org/model", served_model_name="m").name == "m"


def test_engine_options_carry_every_option_of_the_engine() -> None:
    engine = EngineConfig(kv_memory="1MiB", max_context=10, max_running=2, max_step_tokens=3, block_size=4, threads=5)
    model = ModelOptions(model="m", device="cpu", dtype="float16", cache_dir=Path("c"))
    options = ServeConfig(model=model, engine=engine).engine_options
    assert (options.model, options.device, options.dtype, options.cache_dir) == ("m", "cpu", "float16", Path("c"))
    assert (options.kv_memory_bytes, options.max_context, options.max_running) == (1 << 20, 10, 2)
    assert (options.max_step_tokens, options.block_size, options.threads) == (3, 4, 5)

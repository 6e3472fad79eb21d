"""The fused Triton kernels against transformers' modules; in the interpreter where no GPU is."""

import pytest
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from support.gpu import DEVICE
from tokenwire.engine.model.attention import LayerShape
from tokenwire.engine.model.gpu.fused import HeadNorms, add_norm, rotate_and_store, silu_mul

DTYPES = [torch.float32, torch.float16]
if DEVICE.type == "cuda":
    DTYPES.append(torch.bfloat16)  # which Triton's interpreter cuts off instead of rounding
# One unit in the last place: where sums of float32 differ, a value on the edge is rounded to its other neighbour.
ULP = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def random(*size: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def norm(width: int, dtype: torch.dtype, seed: int) -> LlamaRMSNorm:
    module = LlamaRMSNorm(width, eps=1e-5).to(DEVICE, dtype)
    module.weight.data = random(width, dtype=dtype, seed=seed)
    return module


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_norm_is_that_of_transformers(dtype: torch.dtype) -> None:
    module, x = norm(80, dtype, seed=1), random(3, 80, dtype=dtype)
    normed = add_norm(x, None, module.weight, epsilon=1e-5)
    torch.testing.assert_close(normed, module(x), rtol=ULP[dtype], atol=ULP[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_residual_takes_the_change_and_is_normed(dtype: torch.dtype) -> None:
    module, x, before = norm(48, dtype, seed=1), random(3, 48, dtype=dtype), random(3, 48, dtype=dtype, seed=2)
    residual = before.clone()
    normed = add_norm(x, residual, module.weight, epsilon=1e-5)
    assert torch.equal(residual, before + x)
    torch.testing.assert_close(normed, module(before + x), rtol=ULP[dtype], atol=ULP[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gate_is_that_of_transformers(dtype: torch.dtype) -> None:
    gate_up = random(2, 2 * 1100, dtype=dtype) * 4
    gate, up = gate_up.chunk(2, dim=1)
    expected = torch.nn.functional.silu(gate) * up
    torch.testing.assert_close(silu_mul(gate_up), expected, rtol=2 * ULP[dtype], atol=ULP[dtype])


@pytest.mark.parametrize("has_norms", [False, True])
@pytest.mark.parametrize(("num_heads", "num_kv_heads", "dim"), [(6, 2, 80), (8, 8, 16), (7, 1, 64)])
def test_queries_and_keys_are_rotated_and_the_cache_has_keys_and_values(
    num_heads: int, num_kv_heads: int, dim: int, *, has_norms: bool
) -> None:
    shape = LayerShape(num_heads=num_heads, num_kv_heads=num_kv_heads, key_dim=dim, value_dim=dim)
    positions, write_rows = torch.tensor([0, 5, 11], device=DEVICE), torch.tensor([7, 3, 8], device=DEVICE)
    qkv = random(3, (num_heads + 2 * num_kv_heads) * dim)
    query, key, value = torch.split(qkv.view(3, -1, dim).clone(), [num_heads, num_kv_heads, num_kv_heads], dim=1)
    query_norm, key_norm = norm(dim, torch.float32, seed=1), norm(dim, torch.float32, seed=2)
    if has_norms:
        query, key = query_norm(query), key_norm(key)
    angles = random(12, dim // 2, seed=3)
    cosines, sines = (torch.cat([part, part], dim=1)[positions].unsqueeze(0) for part in (angles.cos(), angles.sin()))
    query, key = (
        rotated[0].transpose(0, 1)
        for rotated in apply_rotary_pos_emb(
            query.transpose(0, 1).unsqueeze(0), key.transpose(0, 1).unsqueeze(0), cosines, sines
        )
    )
    keys, values = random(10, num_kv_heads, dim, seed=4), random(10, num_kv_heads, dim, seed=5)
    expected_keys, expected_values = keys.clone(), values.clone()
    expected_keys[write_rows], expected_values[write_rows] = key, value

    norms = HeadNorms(query_norm.weight, key_norm.weight, 1e-5) if has_norms else None
    rotate_and_store(qkv, positions, write_rows, (angles.cos(), angles.sin()), (keys, values), shape, norms)

    torch.testing.assert_close(qkv.view(3, -1, dim), torch.cat([query, key, value], dim=1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(keys, expected_keys, rtol=1e-5, atol=1e-5)
    assert torch.equal(values, expected_values)

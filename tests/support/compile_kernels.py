"""Compiles the GPU's kernels for Hopper, on any machine: a program, for the interpreter must be off from the start."""

from collections.abc import Mapping
from typing import Any

from triton import compile as compile_kernel
from triton import next_power_of_2
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tokenwire.engine.model.gpu.decode_attention import Tuning
from tokenwire.engine.model.gpu.kernels import decode_attention, fused
from tokenwire.engine.sampling import draw_kernel

HOPPER = GPUTarget("cuda", 90, 32)
SHARED_BYTES = 227 << 10
"""Of a program on Hopper."""


def check(kernel: Any, types: str, constants: Mapping[str, object], **options: int) -> None:
    """Compile it with arguments of these types; fail where it takes more shared memory than there is."""
    names = kernel.arg_names
    signature = {**dict(zip(names, types.split(), strict=False)), **dict.fromkeys(constants, "constexpr")}
    constexprs = {(names.index(name),): value for name, value in constants.items()}
    compiled = compile_kernel(ASTSource(kernel, signature, constexprs), target=HOPPER, options=options)
    assert compiled.metadata.shared <= SHARED_BYTES
    print(kernel.__name__, signature, f"{compiled.metadata.shared} bytes of shared memory")


def main() -> None:
    """All kernels, in the shapes of Llama 3.1 8B and a few others."""
    tuning = Tuning()
    for dtype, queries, heads, dim, window in (
        ("bf16", 1, 32, 128, 0),
        ("fp16", 8, 56, 80, 4096),
        ("fp32", 1, 32, 64, 0),
    ):
        heads_and_dim = {"HEADS": heads, "DIM": dim, "BLOCK_DIM": next_power_of_2(dim), "QUERIES": queries}
        cut = {"BLOCK_ROWS": max(16, 8 * queries), "SPLIT": tuning.split, "BLOCK_KEYS": tuning.block_keys}
        check(
            decode_attention.attend_splits,
            f"*{dtype} *{dtype} *{dtype} *i32 *fp32 *fp32 fp32 i32",
            {**heads_and_dim, **cut, "KV_HEADS": 8, "BLOCK_SIZE": 16, "WINDOW": window},
            num_warps=tuning.num_warps,
            num_stages=tuning.num_stages,
        )
        check(decode_attention.merge_splits, f"*i32 *fp32 *fp32 *{dtype}", heads_and_dim, num_warps=1)
    x = "*bf16"
    check(fused.add_norm, f"{x} {x} {x} {x} fp32", {"WIDTH": 4096, "BLOCK": 4096, "ADDS": True})
    check(fused.silu_mul, f"{x} {x}", {"WIDTH": 14336, "BLOCK": 1024})
    for norms in (False, True):
        check(
            fused.rotate_and_store,
            f"{x} *i64 *i64 {x} {x} {x} {x} {x} {x} fp32",
            {"HEADS": 32, "KV_HEADS": 8, "HALF": 64, "BLOCK_HALF": 64, "BLOCK_HEADS": 8, "NORMS": norms},
        )
    check(
        draw_kernel.draw_kept,
        "*fp32 *fp32 *fp32 *i64 *fp32 *fp32 *i64",
        {"WIDTH": 128256, "BLOCK": 4096},
        num_warps=8,
    )


if __name__ == "__main__":
    main()

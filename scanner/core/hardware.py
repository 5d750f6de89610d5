"""What this machine computes natively."""

from __future__ import annotations


def cpu_computes_bf16() -> bool:
    """Whether the CPU multiplies bf16 matrices natively (AVX-512-BF16 or AMX); elsewhere bf16 is emulated and slow."""
    return _has("avx512_bf16") or cpu_has_amx()


def cpu_has_amx() -> bool:
    """Whether the CPU multiplies bf16 matrices in tiles (AMX), several times faster than AVX-512-BF16 does."""
    return _has("amx_bf16")


def _has(capability: str) -> bool:
    import torch

    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get(capability))

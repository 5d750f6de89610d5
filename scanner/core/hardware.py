"""What this machine computes natively."""

from __future__ import annotations


def cpu_computes_bf16() -> bool:
    """Whether the CPU multiplies bf16 matrices natively (AVX-512-BF16 or AMX); elsewhere bf16 is emulated and slow."""
    import torch

    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(key) for key in ("avx512_bf16", "amx_bf16"))

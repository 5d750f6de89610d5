"""Published weights by open_clip's tags and diffusers' ids: from the cache without asking anybody, else from the hub, else a
quick error."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from pathlib import Path

from scanner.core.errors import EncoderError, GeneratorError
from scanner.models.catalog import pretrained_module

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
"""``org/model``."""
_PIPELINE_FILES = ["model_index.json", "*/*.json", "*/*.txt", "*/*.safetensors"]
_NOT_NEEDED = ["safety_checker/*", "*.fp16.*", "*.non_ema.*"]
_SAFETENSORS, _PICKLE = "open_clip_model.safetensors", "open_clip_pytorch_model.bin"  # open_clip's default file names

# The hub's client asks for each of two file names six times with growing waits: 46 s until it admits that there is no network.
_PROBE_TIMEOUT_S = 5.0
_PROBE_DEADLINE_S = 7.0  # looking up a host's address knows no timeout of its own


def fetch_pretrained(name: str, pretrained_cfg: Mapping[str, object]) -> Path:
    """The local file of a tag's weights, downloaded by open_clip where the cache has none.

    Args:
        name: the encoder's, for messages.
        pretrained_cfg: open_clip's entry of the tag, with ``hf_hub`` (``org/repo/`` or ``org/repo/file``) or ``url``.

    Raises:
        EncoderError: not in the cache and the hub does not answer (within seconds), or the download fails.
    """
    import huggingface_hub

    repo, _, file_name = str(pretrained_cfg.get("hf_hub") or "").rpartition("/")
    file_names = _file_names(file_name)
    if repo:
        for candidate in file_names:
            cached = huggingface_hub.try_to_load_from_cache(repo, candidate)
            if isinstance(cached, str):
                return Path(cached)
        address = huggingface_hub.hf_hub_url(repo, file_names[0])
    else:
        address = str(pretrained_cfg.get("url"))
    reason = _why_unreachable(address)
    if reason is None:
        try:
            return Path(pretrained_module().download_pretrained(dict(pretrained_cfg)))
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error)
    raise EncoderError(
        f"the weights of {name} are not in the cache and cannot be downloaded: {reason}",
        next_step="Give a file that is here (open_clip:<model>//path/to/weights.safetensors or open_clip:local-dir:FOLDER), "
        "fill the hub's cache (HF_HOME) where there is a network, or take the encoder `small`, which ships with this package.",
    )


def fetch_pipeline(name: str) -> Path:
    """The local folder of a pipeline of the hub: configs, tokenizer and safetensors, downloaded where the cache has none.

    Raises:
        GeneratorError: not in the cache and the hub does not answer (within seconds), or the download fails.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    def fetch(*, is_cached: bool) -> Path:
        folder = huggingface_hub.snapshot_download(
            name, allow_patterns=_PIPELINE_FILES, ignore_patterns=_NOT_NEEDED, local_files_only=is_cached
        )
        return Path(folder)

    try:
        return fetch(is_cached=True)
    except (LocalEntryNotFoundError, HFValidationError):
        reason = _why_unreachable(huggingface_hub.hf_hub_url(name, "model_index.json"))
    if reason is None:
        try:
            return fetch(is_cached=False)
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
    raise GeneratorError(
        f"there is no folder {name}, and as a model of the hub it is not in the cache and cannot be downloaded: {reason}",
        next_step="Give the folder of a pipeline that is here, fill the hub's cache (HF_HOME) where there is a network, or take "
        "`toy`, which ships with this package.",
    )


def _file_names(file_name: str) -> list[str]:
    """What open_clip would ask the hub for, in its order: safetensors before pickles."""
    if not file_name or file_name == _PICKLE:
        return [_SAFETENSORS, _PICKLE]
    stem, dot, suffix = file_name.rpartition(".")
    return [f"{stem}.safetensors", file_name] if dot and suffix in ("bin", "pth") else [file_name]


def _why_unreachable(address: str) -> str | None:
    """One request, no retry. None where something answered, be it 404: the download itself will then say more."""
    import huggingface_hub
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    outcome: list[str | None] = []

    def probe() -> None:
        try:
            # The hub's own session: same proxies and certificates as the download that follows.
            status = huggingface_hub.get_session().head(address, timeout=_PROBE_TIMEOUT_S).status_code
            outcome.append(f"{address} answered {status}" if status >= 500 or status in (407, 429) else None)
        except Exception as error:  # of whichever http client the hub's library is built on
            outcome.append(f"{address} does not answer ({error})")

    thread = threading.Thread(target=probe, daemon=True, name="hub-probe")
    thread.start()
    thread.join(_PROBE_DEADLINE_S)
    return outcome[0] if outcome else f"{address} does not answer within {_PROBE_DEADLINE_S:.0f} s"

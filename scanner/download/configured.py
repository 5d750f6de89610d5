"""Lists of URLs among the sources of a config: where their images go, and their download."""

from __future__ import annotations

from pathlib import Path

from scanner.core.config import RunConfig, SourceConfig
from scanner.core.errors import ConfigError
from scanner.core.printable import printable
from scanner.core.progress import Progress
from scanner.download.stage import IMAGES, Download
from scanner.sources.open import URL_LIST, detect_format


def with_images(config: RunConfig, run_url: str) -> RunConfig:
    """The config with a folder for the images of each list of URLs: ``RUN-images``, numbered from the second list on.

    Raises:
        SourceError: nothing is at a source's URL, or nothing that can be recognised.
        ConfigError: the run lies on an object store, and no local folder is named; a folder is named, and no source is a list.
    """
    sources: list[SourceConfig] = []
    for source in config.sources:
        if source.format == "auto" and detect_format(source.url) == URL_LIST:
            source = source.model_copy(update={"format": URL_LIST})
        if source.format == URL_LIST and not source.images:
            if "://" in run_url:
                raise ConfigError(
                    f"{source.url!r} is a list of URLs, and the run lies at {run_url}.",
                    next_step="Name a local folder for the images with --images DIR.",
                )
            number = sum(other.format == URL_LIST for other in sources)
            folder = f"{run_url.rstrip('/')}-images{f'-{number + 1}' if number else ''}"
            source = source.model_copy(update={"images": folder})
        sources.append(source)
    if any(source.images for source in sources) and not any(source.format == URL_LIST for source in sources):
        raise ConfigError("A folder for images was given, and no source is a list of URLs.", next_step="Leave --images out.")
    return config.model_copy(update={"sources": tuple(sources)})


def images_of(source: SourceConfig) -> str:
    """The folder of shards that a list of URLs was downloaded into."""
    return f"{source.images}/{IMAGES}"


def download(config: RunConfig, progress: Progress) -> None:
    """Lists of URLs become folders of images, with every row of the list in them."""
    for source in config.sources:
        if source.format != URL_LIST:
            continue
        stage = Download(
            source.url, Path(source.images), config.download, progress,
            caption_column=source.caption_column or None, max_pixels=config.images.max_pixels,
        )  # fmt: skip
        result = stage.run()
        progress.say(result.line(source.dataset))
        for reason, count in result.reasons[:5]:
            progress.say(f"  {count:,} {printable(reason, width=120)}")

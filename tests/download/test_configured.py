from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.core.config import RunConfig, SourceConfig, override
from scanner.core.errors import ConfigError
from scanner.download.configured import images_of, with_images
from scanner.sources.open import URL_LIST


def config_of(*sources):
    return override(RunConfig(), {"sources": list(sources)})


@pytest.fixture
def urls(tmp_path):
    path = tmp_path / "urls.parquet"
    pq.write_table(pa.table({"url": ["http://a.example/1.jpg"]}), path)
    return str(path)


def test_each_list_gets_a_folder_beside_the_run(urls, tmp_path):
    found = with_images(config_of({"url": urls, "name": "a"}, {"url": urls, "name": "b"}), f"{tmp_path}/run/")
    assert [source.format for source in found.sources] == [URL_LIST, URL_LIST]
    assert [source.images for source in found.sources] == [f"{tmp_path}/run-images", f"{tmp_path}/run-images-2"]
    assert with_images(found, f"{tmp_path}/run/") == found
    assert images_of(SourceConfig(url=urls, images="folder")) == "folder/images"


def test_a_run_on_an_object_store_needs_a_folder_for_images(urls):
    with pytest.raises(ConfigError, match="--images DIR"):
        with_images(config_of({"url": urls}), "s3://bucket/run")
    assert with_images(config_of({"url": urls, "images": "here"}), "s3://bucket/run").sources[0].images == "here"


def test_a_folder_for_images_that_no_list_fills_is_an_error(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(ConfigError, match="no source is a list of URLs"):
        with_images(config_of({"url": str(tmp_path), "images": "folder"}), "run")

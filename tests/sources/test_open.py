import io
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sources.making import image, put, tar_bytes

from scanner.core.errors import SourceError
from scanner.sources.open import FORMATS, detect_format, open_source
from scanner.sources.places import expand_braces


def parquet_bytes(table):
    file = io.BytesIO()
    pq.write_table(pa.table(table), file)
    return file.getvalue()


def npy():
    file = io.BytesIO()
    np.save(file, np.ones((1, 2), np.float32))
    return file.getvalue()


IMAGES = parquet_bytes({"image": [b"x"]})
EMBEDDINGS = parquet_bytes({"embedding": [[1.0]]})
URLS = parquet_bytes({"url": ["http://a.b"], "caption": ["c"]})
NEITHER = parquet_bytes({"link": ["http://a.b"]})
TAR = tar_bytes([("a.jpg", image(1))])

SETS = [
    ("folder", {"a.jpg": b"x", "sub/b.png": b"y", "notes.txt": b""}, ""),
    ("folder", {"a.jpg": b"x", "metadata.parquet": parquet_bytes({"file_name": ["a.jpg"], "text": ["t"]})}, ""),
    ("folder", {"a.jpg": b"x", "index.parquet": URLS}, ""),
    ("webdataset", {"0.tar": TAR, "index.tsv": b""}, ""),
    ("webdataset", {"0.tar": TAR}, "/0.tar"),
    ("webdataset", {"0.tgz": b""}, ""),
    ("webdataset", {"0.tar": TAR, "1.tar": TAR}, "/{0..1}.tar"),
    ("webdataset", {"x/0.tar": TAR, "x/1.tar": TAR}, "/*/*.tar"),
    ("webdataset", {"00000.tar": TAR, "preview.png": b""}, ""),
    ("img2dataset", {"00000.tar": TAR, "00000.parquet": URLS, "00000_stats.json": b"{}"}, ""),
    ("img2dataset", {"x/00000.parquet": URLS, "x/00000/000000000.jpg": b""}, ""),
    ("parquet", {"data/train-0.parquet": IMAGES, "README.md": b"", "logo.png": b""}, ""),
    ("parquet", {"data/train-0.parquet": IMAGES}, "/data/train-0.parquet"),
    ("parquet", {"data/train-0.parquet": IMAGES}, "/**/*.parquet"),
    ("embeddings-parquet", {"e.parquet": EMBEDDINGS}, ""),
    ("clip-retrieval", {"img_emb/img_emb_0.npy": npy(), "metadata/metadata_0.parquet": URLS}, ""),
]


@pytest.mark.parametrize(("format", "files", "suffix"), SETS)
def test_formats_are_recognised(root, format, files, suffix):
    for name, data in files.items():
        put(f"{root}/{name}", data)
    assert detect_format(root + suffix) == format
    source = open_source(root + suffix)
    assert source.format == format
    assert source.shards()
    assert pickle.loads(pickle.dumps(source)).shards() == source.shards()
    assert open_source(root + suffix, format=format).shards() == source.shards()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.csv": b"", "b.csv": b"", "c.csv": b"", "d": b""}, "3 .csv files, 1 file without extension, no image, tar or Par"),
        ({"u.parquet": URLS}, "is a list of URLs"),
        ({"u.parquet": NEITHER}, "u.parquet has neither images nor embeddings; its columns are 'link' (string)"),
        ({"u.parquet": b"PAR1"}, "u.parquet is broken or no Parquet file"),
        ({".hidden/a.jpg": b""}, "it is empty"),
    ],
)
def test_what_is_not_recognised_is_described(root, files, message):
    for name, data in files.items():
        put(f"{root}/{name}", data)
    with pytest.raises(SourceError) as error:
        open_source(root)
    assert message in error.value.message
    assert error.value.next_step


def test_single_images_and_absent_places(root):
    put(f"{root}/a.jpg", b"x")
    with pytest.raises(SourceError, match="is an image, not a set"):
        open_source(f"{root}/a.jpg")
    with pytest.raises(SourceError, match="Nothing is at"):
        open_source(f"{root}/absent/deep")
    with pytest.raises(SourceError, match="cannot be opened"):
        open_source("nosuchprotocol://x")


def test_an_unknown_format_names_the_nearest(root):
    with pytest.raises(SourceError, match=r"(?s)'webdatset' is no format.*Did you mean 'webdataset'"):
        open_source(root, format="webdatset")


def test_making_a_source_touches_nothing():
    for format in FORMATS:
        assert open_source("/nowhere/at/all", format=format).url == "/nowhere/at/all"


def test_braces():
    assert expand_braces("a{08..10}b{x,y}") == ["a08bx", "a08by", "a09bx", "a09by", "a10bx", "a10by"]
    assert expand_braces("plain") == ["plain"]
    with pytest.raises(SourceError, match="backwards"):
        expand_braces("{5..2}")
    for text in ("{0..99999999999}", "{0..9999}{0..9999}"):
        with pytest.raises(SourceError, match="more than 1,000,000"):
            expand_braces(text)

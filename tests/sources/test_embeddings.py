"""The two formats that hold ready embeddings."""

import io
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sources.making import put, read_broken

from scanner.core.errors import SourceError
from scanner.sources.base import ImageRef
from scanner.sources.clip_retrieval import ClipRetrievalSource
from scanner.sources.embeddings_parquet import EmbeddingsParquetSource


def vectors(n, dim=8, seed=0, dtype=np.float16):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(dtype)


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def parquet_bytes(table, **options):
    file = io.BytesIO()
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), file, **options)
    return file.getvalue()


def read(source, shard=None):
    return list(source.samples(shard or source.shards()[0]))


def metadata(n, first=0):
    numbers = range(first, first + n)
    return {"image_path": [f"k{i}" for i in numbers], "caption": [f"c{i}" for i in numbers], "url": ["http://u.v/"] * n}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_clip_retrieval(root, dtype):
    first, second = vectors(5000, dtype=dtype), vectors(3, seed=1, dtype=dtype)
    put(f"{root}/img_emb/img_emb_0.npy", npy(first))
    put(f"{root}/img_emb/img_emb_1.npy", npy(second))
    put(f"{root}/text_emb/text_emb_0.npy", npy(first))
    put(f"{root}/metadata/metadata_0.parquet", parquet_bytes(metadata(5000)))
    put(f"{root}/metadata/metadata_1.parquet", parquet_bytes(metadata(3, 5000)))
    source = pickle.loads(pickle.dumps(ClipRetrievalSource(root)))
    assert source.embedding_dim == 8
    shards = source.shards()
    assert [shard.url for shard in shards] == ["img_emb/img_emb_0.npy", "img_emb/img_emb_1.npy"]
    samples = [sample for shard in shards for sample in source.samples(shard)]
    assert [(s.key, s.caption) for s in samples] == [(f"k{i}", f"c{i}") for i in range(5003)]
    stacked = np.stack([s.embedding for s in samples])
    assert stacked.dtype == np.float32
    assert np.array_equal(stacked, np.concatenate([first, second]).astype(np.float32))
    assert source.describe() == "2 shards, 5,003 embeddings"
    with pytest.raises(SourceError, match="no images"):
        source.read(ImageRef(shard_url=shards[0].url, row=0, key="k0"))


@pytest.mark.parametrize(("embeddings", "rows"), [(10, 7), (7, 10)])
def test_clip_retrieval_of_different_lengths(root, embeddings, rows):
    put(f"{root}/img_emb/img_emb_0.npy", npy(vectors(embeddings)))
    put(f"{root}/metadata/metadata_0.parquet", parquet_bytes(metadata(rows)))
    samples, message = read_broken(ClipRetrievalSource(root))
    assert len(samples) == 7
    assert message == f"img_emb/img_emb_0.npy holds {embeddings} embeddings, metadata/metadata_0.parquet {rows} rows."


def test_clip_retrieval_without_metadata(root):
    put(f"{root}/img_emb/img_emb_0.npy", npy(vectors(4)))
    source = ClipRetrievalSource(root)
    assert [(s.key, s.caption) for s in read(source)] == [(str(i), None) for i in range(4)]
    assert "keys are row numbers" in source.counts.notes[0]


def test_clip_retrieval_cut_short(root):
    put(f"{root}/img_emb/img_emb_0.npy", npy(vectors(100))[: -(16 * 40 + 3)])
    samples, message = read_broken(ClipRetrievalSource(root))
    assert len(samples) == 59
    assert message == "img_emb/img_emb_0.npy ends after 59 of the 100 embeddings that its header states."


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no .npy file"),
        (npy(np.array([{"a": 1}], dtype=object), allow_pickle=True), "type object"),
        (npy(np.zeros((3, 4, 5), np.float32)), "shape"),
        (npy(np.asfortranarray(np.ones((3, 4), np.float32))), "in column order"),
        (npy(np.ones((3, 4), np.int8)), "type int8"),
    ],
)
def test_clip_retrieval_never_unpickles_and_wants_a_matrix(root, data, reason):
    put(f"{root}/img_emb/img_emb_0.npy", npy(vectors(2, dim=4)))
    put(f"{root}/img_emb/img_emb_1.npy", data)
    source = ClipRetrievalSource(root)
    samples, message = read_broken(source, source.shards()[1])
    assert not samples
    assert reason in message


def test_unusable_vectors(root):
    block = vectors(4, dtype=np.float32)
    block[1, 3], block[2, 0], block[3] = np.nan, np.inf, 0
    put(f"{root}/img_emb/img_emb_0.npy", npy(block))
    samples = read(ClipRetrievalSource(root))
    assert [s.status for s in samples] == ["ok", "unreadable", "unreadable", "unreadable"]
    assert all(s.embedding is None and s.error_message for s in samples[1:])


@pytest.mark.parametrize(
    "type_",
    [
        pa.list_(pa.float32()),
        pa.list_(pa.float64()),
        pa.list_(pa.float16()),
        pa.large_list(pa.float32()),
        pa.list_(pa.float32(), 8),
        pa.list_(pa.float16(), 8),
    ],
)
def test_embedding_lists(root, type_):
    block = vectors(300)
    lists = pa.array(list(block.astype(np.float64)), pa.list_(pa.float64())).cast(pa.list_(type_.value_type)).cast(type_)
    put(f"{root}/e.parquet", parquet_bytes({"id": list(range(300)), "embedding": lists, "caption": ["c"] * 300}))
    source = EmbeddingsParquetSource(root)
    assert source.embedding_dim == 8
    samples = read(source)
    assert np.array_equal(np.stack([s.embedding for s in samples]), block.astype(np.float32))
    assert samples[7].key == "7"
    assert source.describe() == "1 shard, 300 embeddings"


def test_embedding_rows_that_do_not_fit(root):
    lists = [[1.0, 2.0, 3.0], None, [1.0, 2.0], [], [1.0, None, 3.0], [4.0, 5.0, 6.0], [float("inf"), 0.0, 0.0]]
    put(f"{root}/e.parquet", parquet_bytes({"embedding": pa.array(lists, pa.list_(pa.float32()))}))
    samples = read(EmbeddingsParquetSource(root))
    assert [s.status for s in samples] == ["ok", *["unreadable"] * 4, "ok", "unreadable"]
    assert samples[5].embedding.tolist() == [4.0, 5.0, 6.0]
    assert samples[1].error_message == "no embedding in its row, where the first has 3"
    assert samples[2].error_message == "an embedding of 2 numbers in its row, where the first has 3"


def test_null_rows_of_fixed_size_lists(root):
    lists = pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2))
    put(f"{root}/e.parquet", parquet_bytes({"embedding": lists}))
    samples = read(EmbeddingsParquetSource(root))
    assert [s.status for s in samples] == ["ok", "unreadable", "ok"]
    assert samples[2].embedding.tolist() == [3.0, 4.0]


def test_named_embedding_column(root):
    put(f"{root}/e.parquet", parquet_bytes({"vector": [[1.0, 2.0]], "text": ["t"]}))
    assert read(EmbeddingsParquetSource(root, image_column="vector"))[0].embedding.tolist() == [1.0, 2.0]
    with pytest.raises(SourceError, match="no column with embeddings"):
        EmbeddingsParquetSource(root).shards()


def test_files_of_another_dimension(root):
    put(f"{root}/a.parquet", parquet_bytes({"embedding": [[1.0, 2.0]]}))
    put(f"{root}/b.parquet", parquet_bytes({"embedding": [[1.0, 2.0, 3.0]]}))
    source = EmbeddingsParquetSource(root)
    assert [s.status for shard in source.shards() for s in source.samples(shard)] == ["ok", "unreadable"]

"""Images from outside: what the encoder of the run makes of them, and what cannot be compared."""

from __future__ import annotations

import numpy as np
import pytest
from served_run import picture

from scanner.core.config import override
from scanner.core.vectors import to_matrix
from scanner.models.pixels import PixelsEncoder
from scanner.report.serve.examples import Examples
from scanner.report.serve.params import RequestError


@pytest.fixture(scope="module")
def examples(run):
    with Examples(run[1]) as examples:
        yield examples


def metadata(run) -> dict:
    return dict(run[0].manifest("embeddings").metadata)


def test_a_file_of_the_set_has_the_vector_of_the_set(run, ids, examples):
    store, _ = run
    rows = store.read("embeddings")
    stored = to_matrix(rows["embedding"])[rows["image_id"].to_pylist().index(ids["a0.png"])]
    example = examples.embed(picture(1), metadata(run))
    np.testing.assert_array_equal(example.vector.astype(np.float16), stored)
    assert (example.width, example.height) == (96, 64)
    assert example.jpeg.startswith(b"\xff\xd8")


def test_another_encoder_is_never_compared_with(run, examples):
    for key in ("weights_digest", "preprocess_id"):
        with pytest.raises(RequestError, match=rf"{key} differs") as caught:
            examples.embed(picture(1), {**metadata(run), key: "another"})
        assert caught.value.status == 409
    both = f"{'0' * 64}, {PixelsEncoder.weights_digest}"
    assert examples.embed(picture(1), {**metadata(run), "weights_digest": both}).width == 96, "a run continued on another machine"


def test_ready_embeddings_have_no_encoder(run, examples):
    with pytest.raises(RequestError, match="brought its own embeddings"):
        examples.embed(picture(1), {"encoder": "ready", "dim": "8"})


def test_an_encoder_that_cannot_be_had_is_told(run):
    _, config = run
    config = override(config, {"encoder.name": "open_clip:ViT-B-32//no/such/file.safetensors"})
    with Examples(config) as examples, pytest.raises(RequestError, match="cannot be loaded") as caught:
        examples.embed(picture(1), {"encoder": config.encoder.name})
    assert caught.value.status == 409

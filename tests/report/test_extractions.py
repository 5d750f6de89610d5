"""The section of what models gave back: every verdict with its pictures, and none of them in a redacted page."""

from __future__ import annotations

import base64
import io
import re
import shutil

import numpy as np
import pytest
from fake_generator import MEMORIZED, OTHER, QUIET, base_config, extract, scanned, settings, square, strong
from PIL import Image

from scanner.core.store import Store
from scanner.pipelines.scan import open_sources
from scanner.report import stage
from scanner.report.extractions import _kept, read_extractions

__all__ = ["scanned"]


@pytest.fixture(scope="module")
def extracted(scanned, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("report") / "run"
    shutil.copytree(scanned, run_dir)
    extract(run_dir, settings(scanned), strong())
    return run_dir


def _page(run_dir, scanned, *, is_redacted=False) -> str:
    config = base_config(scanned.parent)
    stage.run(Store(str(run_dir)), config, open_sources(config), QUIET, is_redacted=is_redacted)
    return (run_dir / (stage.REDACTED_FILE if is_redacted else stage.REPORT_FILE)).read_text()


def _image(uri: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"), float)


def test_every_verdict_is_shown_with_its_pictures(extracted, scanned):
    page = _page(extracted, scanned)
    section = page[page.index('id="extractions"') : page.index('id="duplicates"')]
    assert "What models gave back" in section
    for word in (MEMORIZED, OTHER, "extracted", "retrieved", "template", "scanner replay RUN"):
        assert word in section
    assert re.search(r"of \d+ controls, which should give nothing", section)
    assert section.count("data:image/jpeg") >= 4


def test_a_picture_is_the_one_that_came_out(extracted):
    found = read_extractions(Store(str(extracted)))
    assert found is not None
    (row,) = [one for one in found.found if one.prompt == MEMORIZED]
    training = _image(row.training)
    expected = np.asarray(square(1).resize(training.shape[1::-1], Image.Resampling.NEAREST), float)
    assert np.abs(training - expected).mean() < 12
    assert len(row.generations) == 5
    assert all(np.abs(_image(uri) - expected).mean() < 20 for _, uri in row.generations)


def test_a_redacted_page_shows_nothing_of_the_set(extracted, scanned):
    page = _page(extracted, scanned, is_redacted=True)
    store = Store(str(extracted))
    plain, blurred = read_extractions(store), read_extractions(store, is_redacted=True)
    assert plain is not None
    assert blurred is not None
    clear = [uri for row in plain.found for uri in (row.training, *dict(row.generations).values())]
    vague = [uri for row in blurred.found for uri in (row.training, *dict(row.generations).values())]
    assert len(clear) == len(vague) > 10
    assert not any(uri in page for uri in clear)
    # Six pixels a side are left: what is between them is gone.
    assert max(np.abs(np.diff(_image(uri), axis=0)).max() for uri in vague) < 24
    assert set(re.findall(r'src="(data:[^"]+)"', page)) == set(vague)
    assert not any(word in page for word in (MEMORIZED, OTHER, "mug with print", "thing number"))
    # The id of a prompt is a digest of it: whoever guesses a caption could confirm the guess.
    assert not any(str(row.prompt_id) in page for row in plain.found)
    assert "scanner replay" not in page


def test_what_came_out_of_each_model_is_counted_by_images(extracted):
    found = read_extractions(Store(str(extracted)))
    assert found is not None
    (model,) = found.totals
    assert model.num_found == found.num_found == len(found.found)
    assert model.num_images == len({row.image_caption for row in found.found if row.verdict in ("extracted", "retrieved")})
    assert [row.position for row in found.found] == list(range(1, len(found.found) + 1))


def test_a_group_whose_image_came_out_says_so(extracted, scanned):
    page = _page(extracted, scanned)
    cards = page[page.index('id="group-list"') : page.index('id="captions"')]
    first = cards[: cards.index("</article>")]
    assert MEMORIZED in first
    assert "came out of a model: extracted" in first
    assert "gave back" in page[page.index('id="overview"') : page.index('id="extractions"')]


def test_a_path_that_leaves_the_run_is_no_picture(extracted, tmp_path):
    outside = tmp_path / "outside.png"
    Image.new("RGB", (8, 8), "red").save(outside)
    store = Store(str(extracted))
    way_out = "../" * len(extracted.parts) + str(outside).lstrip("/")
    assert _kept(store, way_out) is None
    assert _kept(store, f"generated/../{way_out}") is None
    assert _kept(store, "report.html") is not None


def test_a_run_without_an_extraction_has_no_section(scanned, tmp_path):
    shutil.copytree(scanned, tmp_path / "run")
    assert read_extractions(Store(str(tmp_path / "run"))) is None
    assert "What models gave back" not in _page(tmp_path / "run", scanned)

"""The order of events on a device, with one that is late in all it does; and that a host computes what it did before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fed import FirstByte, FullRunner, LateDevice, batches, packed

from scanner.embed import runner as runners
from scanner.embed.batches import Batch
from scanner.embed.feed import Feed
from scanner.embed.prefetch import prefetch
from scanner.embed.runner import DeviceRunner, HostRunner, make_runner, resize_place
from scanner.images.geometry import fit
from scanner.models.encoders import DeviceEncoder
from scanner.models.loading import load_encoder
from scanner.models.pixels import PixelsEncoder


def device_batches(runner, num_images, size):
    """As ``batches``, in the device's own memory, which nothing holds but the batch."""
    for first in range(0, num_images, size):
        ids = list(range(first, min(first + size, num_images)))
        yield Batch(ids=ids, pixels=runner.pack([np.full((2, 2, 3), id_, np.uint8) for id_ in ids]))


@pytest.mark.parametrize("room", [10**6, 12 * 9, 12])
@pytest.mark.parametrize("pads", [False, True])
def test_a_device_that_is_late_gives_every_vector_once(room, pads):
    runner = DeviceRunner(FirstByte(), LateDevice(room), pads=pads)
    feed = Feed(runner, size=16)
    found = list(feed.run(prefetch(device_batches(runner, 100, 16), depth=2)))
    ids = [id_ for ids, _ in found for id_ in ids]
    assert ids == list(range(100))
    assert np.concatenate([vectors for _, vectors in found])[:, 0].tolist() == ids
    assert feed.sizes == {10**6: [16], 12 * 9: [16, 8], 12: [16, 8, 4, 2, 1]}[room]


def test_one_batch_is_sent_while_the_one_before_is_computed():
    device = LateDevice()
    runner = DeviceRunner(FirstByte(), device)
    list(Feed(runner, size=16).run(device_batches(runner, 48, 16)))
    assert device.log == ["send", "fetch", "send", "fetch", "wait", "send", "fetch", "wait", "wait"]


def test_a_compiled_encoder_sees_one_size_until_memory_runs_out():
    encoder = FirstByte()
    runner = DeviceRunner(encoder, LateDevice(), pads=True)
    feed = Feed(runner, size=16)
    list(feed.run(device_batches(runner, 40, 16)))
    assert encoder.sizes == [16, 16, 16]
    encoder.sizes.clear()
    runner.release()
    feed.size = 8
    list(feed.run(device_batches(runner, 20, 8)))
    assert encoder.sizes == [8, 8, 8]


def pictures(*shapes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*shape, 3)).astype(np.uint8) for shape in shapes]


def test_images_of_any_size_are_brought_to_the_encoders_on_the_device():
    encoder = FirstByte(size=(32, 32))
    images = pictures((32, 32), (40, 64), (90, 33), (40, 64))
    seen = []
    encoder.on_device = lambda pixels: (seen.append(pixels.clone()), pixels[:, 0, 0, :1])[1]
    runner = DeviceRunner(encoder, LateDevice())
    assert runner.start(runner.pack(images))().shape == (4, 1)
    for image, found in zip(images, seen[0].numpy(), strict=True):
        assert np.abs(found.astype(int) - fit(image, encoder.preprocess)).max() <= 2


def test_pieces_of_mixed_sizes_are_the_images_that_went_in():
    images = pictures((3, 5), (1, 1), (4, 2), (2, 2))
    pixels = packed(images)
    assert pixels.shape is None
    piece = pixels.cut(1, 3)
    assert (piece.shapes, piece.shape) == (((1, 1), (4, 2)), None)
    assert (piece.data == np.concatenate([image.reshape(-1) for image in images[1:3]])).all()
    assert pixels.cut(3, 4).stacked().shape == (1, 2, 2, 3)
    with pytest.raises(AssertionError):
        pixels.stacked()


def test_a_host_computes_what_the_encoder_does(one_thread):
    encoder = load_encoder("small", device="cpu", precision="fp32")
    images = pictures(*[encoder.preprocess.size] * 20)
    runner = make_runner(encoder)
    assert isinstance(runner, HostRunner)
    batch = Batch(ids=list(range(20)), pixels=runner.pack(images))
    found = np.concatenate([vectors for _, vectors in Feed(runner, size=8).run([batch])])
    expected = np.concatenate([encoder.encode(np.stack(images[i : i + 8])) for i in (0, 8, 16)])
    assert (found == expected).all(), "bits of vectors on a CPU"


def test_what_an_encoder_does_on_its_device_is_what_it_does_with_arrays(one_thread):
    encoder = load_encoder("small", device="cpu", precision="fp32")
    assert isinstance(encoder, DeviceEncoder)
    assert not isinstance(PixelsEncoder(), DeviceEncoder)
    images = np.stack(pictures(*[encoder.preprocess.size] * 9))
    on_device = encoder.on_device(torch.from_numpy(images))
    assert (encoder.checked(on_device.numpy()) == encoder.encode(images)).all()


def test_attention_is_the_fused_one(one_thread):
    encoder = load_encoder("small", device="cpu", precision="fp32")
    images = torch.from_numpy(np.stack(pictures(*[encoder.preprocess.size] * 2)))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        encoder.on_device(images)
    called = {event.key for event in profile.key_averages()}
    # The one of torch's two entries that the module takes; on a GPU both lead to the kernels of scaled_dot_product_attention.
    assert called & {"aten::scaled_dot_product_attention", "aten::_native_multi_head_attention"}


def test_the_runner_fits_the_encoder(monkeypatch):
    monkeypatch.setattr(runners, "CudaDevice", LateDevice)
    encoder = FirstByte()
    assert isinstance(make_runner(encoder), DeviceRunner)
    assert encoder.num_compiled == 0
    make_runner(encoder, is_compiled=True)
    assert encoder.num_compiled == 1
    assert isinstance(make_runner(PixelsEncoder(), is_compiled=True), HostRunner)


@pytest.mark.parametrize(("setting", "on_gpu", "on_cpu"), [("auto", "gpu", "cpu"), ("gpu", "gpu", "cpu"), ("cpu", "cpu", "cpu")])
def test_images_are_resized_where_the_encoder_is_unless_the_config_says_else(setting, on_gpu, on_cpu):
    assert resize_place(setting, FirstByte()) == on_gpu
    assert resize_place(setting, PixelsEncoder()) == on_cpu


def test_a_full_runner_is_what_it_says():
    runner = FullRunner(3, depth=0)
    (batch,) = batches(3, 3)
    assert runner.start(batch.pixels)().tolist() == [[0], [1], [2]]

"""The order of a training's images, their workers, and the processes that share them."""

import numpy as np
import pytest
import torch

from pyramidflow import Detector
from pyramidflow.data import ImageSet, augment_texture, list_images
from pyramidflow.errors import InputError
from pyramidflow.spec import Preprocessing
from pyramidflow.training import Recipe, Run, Task, Trainer
from pyramidflow.training.batches import Batches, DrawnImages, EpochSampler, fitting_workers
from pyramidflow.training.parallel import OneProcess
from pyramidflow.training.progress import SilentProgress
from tests.support.tiny import TINY

SEED = 3


class Share(OneProcess):
    """A process that says it is one of several, and counts what it is asked."""

    def __init__(self, rank=0, world=1):
        self.rank, self.world = rank, world
        self.sums, self.waits = [], 0

    def add(self, tensors):
        self.sums.append(len(tensors))

    def barrier(self):
        self.waits += 1


@pytest.fixture
def images(tiny_set):
    return ImageSet(list_images(tiny_set / "train" / "good")[:9], 16, cache_bytes=0)


def of_epoch(images, epoch, start, workers, size=2):
    drawn = DrawnImages(images, "texture", SEED)
    batches = Batches(drawn, EpochSampler(9, size, SEED), Preprocessing(16), workers)
    return list(batches.of_epoch(epoch, start))


@pytest.mark.parametrize("size", [1, 2, 4, 9, 10])
def test_an_epoch_is_a_permutation_in_batches(size):
    sampler = EpochSampler(9, size, SEED)
    sampler.epoch = 5
    order = np.random.default_rng((SEED, 5)).permutation(9)
    expected = [[(5, int(i)) for i in order[k : k + size]] for k in range(0, 9, size)]
    if len(expected[-1]) < min(size, 2):
        expected.pop()
    assert list(sampler) == expected
    assert len(sampler) == len(expected)
    sampler.start = 1
    assert list(sampler) == expected[1:]


def test_processes_share_every_batch():
    whole = list(EpochSampler(9, 4, SEED))
    shares = [list(EpochSampler(9, 4, SEED, Share(rank, 2))) for rank in range(2)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert batch == [draw for part in parts for draw in part]
        assert abs(len(parts[0]) - len(parts[1])) <= 1


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_augmented_images(images, workers):
    torch.manual_seed(7)
    state = torch.get_rng_state()
    found = of_epoch(images, 2, 1, workers)
    assert torch.equal(torch.get_rng_state(), state)
    order = np.random.default_rng((SEED, 2)).permutation(9)
    assert len(found) == 3
    for step, batch in enumerate(found, 1):
        for image, i in zip(batch, order[2 * step : 2 * step + 2], strict=True):
            expected = augment_texture(images[i], np.random.default_rng((SEED, 2, i)))
            np.testing.assert_array_equal(image.numpy(), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_went_bad_is_one_sentence(tiny_set, tmp_path, workers):
    path = tmp_path / "bad.png"
    path.write_bytes(b"no picture")
    images = ImageSet([*list_images(tiny_set / "train" / "good")[:8], path], 16, cache_bytes=0)
    with pytest.raises(InputError, match=r"bad\.png is not an image") as caught:
        of_epoch(images, 0, 0, workers, size=9)
    assert "\n" not in str(caught.value)


def test_workers_help_where_images_are_decoded_again(images):
    assert fitting_workers(images) >= 1
    kept = ImageSet(images.paths, 16)
    assert fitting_workers(kept) >= 1
    kept.check()
    assert fitting_workers(kept) == 0


def trainer(images, parallel=None, checkpoint=None, workers=None, std=None, batch_size=2):
    torch.manual_seed(0)
    model = Detector(16, **TINY).model
    preprocessing = Preprocessing(16) if std is None else Preprocessing(16, std=std)
    sets = (images, ImageSet(images.paths[:batch_size], 16))
    recipe = Recipe(epochs=1, augment="texture", batch_size=batch_size)
    task = Task(model, preprocessing, *sets, recipe)
    run = Run(checkpoint, workers=workers, parallel=parallel)
    return Trainer(task, SilentProgress(), run)


def test_a_training_with_workers_is_bit_equal(images):
    alone, helped = (trainer(images, workers=workers) for workers in (0, 2))
    first, second = alone.run(), helped.run()
    assert first.history[0]["loss"] == second.history[0]["loss"]
    assert first.history[0]["validation_loss"] == second.history[0]["validation_loss"]
    for a, b in zip(first.normal.template, second.normal.template, strict=True):
        assert torch.equal(a, b)


def test_a_process_without_images_has_an_empty_batch(images):
    drawn, sampler = DrawnImages(images), EpochSampler(9, 1, SEED, Share(0, 2))
    batches = list(Batches(drawn, sampler, Preprocessing(16), 0).of_epoch())
    assert [tuple(batch.shape) for batch in batches] == [(0, 16, 16, 3)] * 9


def test_one_process_sums_nothing(images, tmp_path):
    alone = Share()
    made = trainer(images, alone, tmp_path / "c.safetensors")
    made.run()
    assert alone.sums == []
    assert alone.waits == 1
    assert (tmp_path / "c.safetensors").exists()


def test_the_first_process_writes_the_checkpoint(images, tmp_path):
    for rank in (1, 0):
        assert not (tmp_path / "c.safetensors").exists()
        process = Share(rank, 2)
        trainer(images, process, tmp_path / "c.safetensors", batch_size=4)._save_checkpoint()
        assert process.waits == 1
    assert (tmp_path / "c.safetensors").exists()


def test_a_checkpoint_of_another_normalisation_is_refused(images, tmp_path):
    path = tmp_path / "c.safetensors"
    trainer(images, checkpoint=path).run()
    with pytest.raises(InputError, match=r"was made with std = \[0\.229, 0\.224, 0\.225\]"):
        trainer(images, checkpoint=path, std=(0.5, 0.5, 0.5)).resume()

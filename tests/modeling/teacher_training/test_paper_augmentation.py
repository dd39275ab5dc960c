"""The authors' augmentation against their MATLAB code, written again in numpy and sampled by SciPy."""

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from modeling.teacher_training.paper_augmentation import paper_augment, paper_maps
from modeling.teachers.published import MEAN_RGB


def authors_map(zoom, offsets, angle, skews) -> np.ndarray:
    """computeAugs of ferplus_baselines.m, its order of indices and vl_nnaffinegrid.m, in numpy: -> 2 x 3 for (x, y, 1)."""
    zs = (zoom - 1) / zoom
    zoomed = zoom * np.array([[1, 0, zs - 2 * zs * offsets[1]], [0, 1, zs - 2 * zs * offsets[0]], [0, 0, 1]])
    rotated = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    skewed = np.array([[1, skews[0], 0], [skews[1], 1, 0], [0, 0, 1]])
    given = (zoomed @ rotated @ skewed).flatten(order="F")[[4, 3, 1, 0, 7, 6]].reshape(2, 3, order="F")
    vu_from_yx = np.concatenate([given[:, :2].T, given[:, 2:]], 1)  # the grid is [y x] * given(:, 1:2) + given(:, 3)'
    return vu_from_yx[[1, 0]][:, [1, 0, 2]]


def authors_draw(map_23: np.ndarray) -> tuple | None:
    """The zoom, offsets, angle and skews that give this map, or None."""
    for angle in (-np.pi / 18, 0, np.pi / 18):
        for skews in np.ndindex(3, 3):
            skews = np.array([-0.1, 0, 0.1])[list(skews)]
            zoom = map_23[0, 0] / authors_map(1, (1, 1), angle, skews)[0, 0]
            offsets = (1 - map_23[::-1, 2] / (zoom - 1)) / 2
            if np.allclose(map_23, authors_map(zoom, np.round(offsets), angle, skews), atol=1e-5):
                return zoom, tuple(np.round(offsets)), angle, tuple(skews)
    return None


def test_the_maps_are_those_of_the_authors_code():
    maps = paper_maps(400, torch.Generator().manual_seed(0)).double().numpy()
    mirrored = maps[:, 0, 0] < 0
    maps[mirrored, 0] *= -1
    still = (maps == np.eye(2, 3)).all((1, 2))
    assert 0.4 < mirrored.mean() < 0.6 and 0.4 < still.mean() < 0.6 and 0.4 < mirrored[still].mean() < 0.6
    draws = [authors_draw(map_23) for map_23 in maps[~still]]
    assert None not in draws
    zooms, offsets, angles, skews = (np.array(part) for part in zip(*draws, strict=True))
    assert zooms.min() < 0.965 and zooms.max() > 1.035 and ((zooms > 0.96) & (zooms < 1.04)).all()
    assert set(np.unique(offsets)) == set(range(1, 10))
    assert all((angles == value).mean() > 0.2 for value in np.unique(angles)) and len(np.unique(angles)) == 3
    assert len(np.unique(skews[:, 0])) == len(np.unique(skews[:, 1])) == 3


def test_augmented_faces_are_sampled_by_their_maps_and_are_the_mean_outside():
    """scipy's linear sampling of the face minus its mean, with zeros around it."""
    faces = np.random.default_rng(2).integers(0, 256, (6, 48, 48), np.uint8)
    maps = paper_maps(6, torch.Generator().manual_seed(4)).numpy()
    ours = paper_augment(torch.from_numpy(faces), torch.Generator().manual_seed(4))
    assert ours.shape == (6, 3, 224, 224) and ours.dtype == torch.float32
    y, x = np.meshgrid(np.linspace(-1, 1, 224), np.linspace(-1, 1, 224), indexing="ij")
    outside = 0
    for row in range(6):
        u, v = maps[row] @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
        for channel in range(3):
            places = [(v + 1) / 2 * 47, (u + 1) / 2 * 47]
            theirs = ndimage.map_coordinates(faces[row] - MEAN_RGB[channel], places, order=1, mode="grid-constant")
            assert np.abs(ours[row, channel].numpy().ravel() - theirs).max() < 0.02
        beyond = torch.from_numpy((np.maximum(abs(u), abs(v)) > 1 + 2 / 47).reshape(224, 224))
        assert (ours[row][:, beyond] == 0).all()
        outside += beyond.sum()
    assert outside > 1000


def test_half_of_the_half_that_is_not_mirrored_is_only_enlarged():
    faces = torch.from_numpy(np.random.default_rng(5).integers(0, 256, (40, 48, 48), np.uint8))
    augmented = paper_augment(faces, torch.Generator().manual_seed(1))
    plain = F.interpolate(faces[:, None].float(), (224, 224), mode="bilinear", align_corners=True)
    plain = plain - torch.tensor(MEAN_RGB).view(3, 1, 1)
    same = (augmented - plain).abs().amax((1, 2, 3)) < 0.02
    flipped = (augmented - plain.flip(-1)).abs().amax((1, 2, 3)) < 0.02
    assert 4 <= same.sum() <= 16 and 4 <= flipped.sum() <= 16
    again, other = (paper_augment(faces, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert torch.equal(augmented, again) and not torch.equal(augmented, other)

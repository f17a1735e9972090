"""Classes whose truth is known: nothing to find, one failure, or several independent modes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RANK = 48  # dimensions that vary, as embeddings fill few of theirs


@dataclass(frozen=True)
class Classes:
    """x (n, d) float32, labels (n,), right (n,) bool, planted (k,) bool: whether a class has a failure direction."""

    x: NDArray[np.float32]
    labels: NDArray[np.int64]
    right: NDArray[np.bool_]
    planted: NDArray[np.bool_]


def draw_classes(count: int, n: int, d: int, errors: float, share_planted: float, shift: float, seed: int) -> Classes:
    """Draw classes of ``n`` samples of which exactly ``errors`` are wrong.

    In a planted class wrong samples are shifted by ``-shift`` and right ones by ``+shift`` along one of the latent
    axes, whose deviation is 1; elsewhere correctness has nothing to do with the embedding.
    """
    rng = np.random.default_rng(seed)
    xs, rights = [], []
    planted = np.arange(count) < round(share_planted * count)
    for is_planted in planted:
        right = rng.permutation(n) >= round(errors * n)
        latent = rng.normal(size=(n, RANK))
        latent[:, 0] += np.where(right, shift, -shift) if is_planted else 0.0
        rows = latent @ rng.normal(size=(RANK, d)) / np.sqrt(d) + 0.3 * rng.normal(size=(n, d)) / np.sqrt(d)
        xs.append((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
        rights.append(right)
    return Classes(np.concatenate(xs), np.repeat(np.arange(count), n), np.concatenate(rights), planted)


def draw_frames(
    count: int, objects: int, d: int, sizes: Sequence[int], errors: float, turned: float, seed: int
) -> tuple[Classes, NDArray[np.int64]]:
    """Draw classes of objects that are seen in several frames each, and the object (n,) of each frame.

    Whether the model is right about an object has nothing to do with how it looks.

    Args:
        count: classes.
        objects: of a class.
        d: dimensions.
        sizes: frames of an object, each as likely.
        errors: share of the objects that are wrong.
        turned: share of the frames whose answer is not their object's, which makes groups of both kinds.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    xs, rights, groups, labels = [], [], [], []
    for k in range(count):
        of = np.repeat(np.arange(objects), rng.choice(sizes, objects))
        looks = rng.normal(size=(objects, RANK)) @ rng.normal(size=(RANK, d))
        rows = looks[of] + 0.3 * rng.normal(size=(len(of), d)) * np.sqrt(RANK)
        xs.append((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
        rights.append((np.arange(objects) >= round(errors * objects))[of] ^ (rng.random(len(of)) < turned))
        groups.append(k * objects + of)
        labels.append(np.full(len(of), k))
    x, right = np.concatenate(xs), np.concatenate(rights)
    return Classes(x, np.concatenate(labels), right, np.zeros(count, bool)), np.concatenate(groups)


@dataclass(frozen=True)
class Modes:
    """x (n, d) float32, right (n,), member (m, n) bool: shows the attribute of mode m, directions (m, d) unit."""

    x: NDArray[np.float32]
    right: NDArray[np.bool_]
    member: NDArray[np.bool_]
    directions: NDArray[np.float64]


def draw_modes(n: int, d: int, shares: Sequence[float], overlap: float, strength: float, seed: int) -> Modes:
    """Draw a class in which each independent attribute makes the model fail: 85 % errors inside, 5 % outside.

    ``overlap`` is the cosine between the directions of the first two attributes; an attribute moves a sample by
    ``strength`` times the length of its noise. Without attributes 20 % of the samples are wrong at random.
    """
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(d, d)))[0][: len(shares)]
    if overlap and len(shares) > 1:
        directions[1] = overlap * directions[0] + np.sqrt(1 - overlap**2) * directions[1]
    member = rng.random((len(shares), n)) < np.reshape(np.asarray(shares), (-1, 1))
    right = rng.random(n) >= np.where(member.any(axis=0), 0.85, 0.05 if len(shares) else 0.2)
    x = rng.normal(size=(n, d)) / np.sqrt(d) + strength * member.T @ directions
    return Modes(x.astype(np.float32), right, member, directions)

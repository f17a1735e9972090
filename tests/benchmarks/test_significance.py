from __future__ import annotations

import numpy as np

from benchmarks.significance.planting import draw_frames


def test_frames_share_the_look_of_their_object_and_its_answer_but_for_those_turned() -> None:
    data, groups = draw_frames(3, 10, 16, (2, 5), 0.3, 0.0, seed=0)
    assert data.x.shape == (len(groups), 16)
    assert [len(np.unique(groups[data.labels == k])) for k in range(3)] == [10, 10, 10]
    answers = [set(data.right[groups == g].tolist()) for g in np.unique(groups)]
    assert all(len(own) == 1 for own in answers)
    assert sum(own == {False} for own in answers) == 9
    same = np.mean([data.x[i] @ data.x[i + 1] for i in range(len(groups) - 1) if groups[i] == groups[i + 1]])
    assert same > 0.8
    turned, _ = draw_frames(3, 10, 16, (2, 5), 0.3, 0.5, seed=0)
    assert (turned.right != data.right).any()

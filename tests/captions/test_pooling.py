from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fdgpu import CaptionGrammar
from fdgpu.captions import pool_captions


@given(st.lists(st.lists(st.sampled_from("abcde"), max_size=6), max_size=4))
def test_every_text_once_and_every_group_complete(groups: list[list[str]]) -> None:
    pool = pool_captions(groups)
    assert len(pool.captions) == len(set(pool.captions))
    assert set(pool.captions) == {text for group in groups for text in group}
    for group, members in zip(groups, pool.members, strict=True):
        assert [pool.captions[i] for i in members] == list(dict.fromkeys(group))
    for group, members, firsts in zip(groups, pool.members, pool.firsts, strict=True):
        assert [group.index(pool.captions[i]) for i in members] == firsts.tolist()


def test_captions_are_joined_across_classes_and_slots() -> None:
    """ "dark" + "red cat" reads like "dark red" + "cat", which no look at one slot could see."""
    cats = CaptionGrammar("a {colour} {noun}", colour=["dark", "dark red"], noun=["cat", "red cat"])
    dogs = CaptionGrammar("a {colour} {noun}", colour=["dark"], noun=["cat", "dog"])
    pool = pool_captions([cats, dogs])
    assert pool.captions == ["a dark cat", "a dark red cat", "a dark red red cat", "a dark dog"]
    assert [members.tolist() for members in pool.members] == [[0, 1, 2], [0, 3]]


def test_a_grammar_that_classes_share_is_gone_through_once() -> None:
    looked = []

    class Counted(list):
        def __iter__(self):
            looked.append(self)
            return super().__iter__()

    shared = Counted(["a", "b"])
    pool = pool_captions([shared, ["c"], shared])
    assert len(looked) == 1
    assert [members.tolist() for members in pool.members] == [[0, 1], [2], [0, 1]]

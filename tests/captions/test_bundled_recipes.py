"""The recipes that ship, against what the paper says of them."""

from __future__ import annotations

from collections import Counter

import pytest

from fdgpu import CaptionGrammar, nouns_below
from fdgpu.captions import CaptionRecipe, pool_captions
from fdgpu.captions.recipe import bundled_names
from fdgpu.demo.world import world_settings
from tools.world_captions import all_captions

# C.2: the ancestors, and how many of the thousand classes the paper counts for each
PUBLISHED = {
    "fish": 16, "bird": 59, "amphibian": 9, "reptile": 36, "invertebrate": 61, "mammal": 30, "marsupial": 3,
    "aquatic mammal": 4, "canine": 130, "feline": 13, "rodent": 6, "swine": 3, "bovid": 9, "primate": 20,
    "device": 124, "entity": 59, "vehicle": 7, "aircraft": 4, "structure": 57, "wheeled vehicle": 40,
    "container": 32, "equipment": 37, "implement": 36, "covering": 43, "furniture": 21, "vessel": 32, "fabric": 6,
    "train": 1, "instrumentality": 12, "appliance": 12, "bus": 3, "food": 38, "fruit": 16,
    "geological formation": 9, "person": 3, "flower": 2, "fungus": 7,
}  # fmt: skip


@pytest.mark.parametrize("name", bundled_names())
def test_every_recipe_works_and_says_where_it_is_from(name: str) -> None:
    recipe = CaptionRecipe.bundled(name)
    assert recipe.source or name == "demo"
    assert len(recipe.grammars) == len(recipe.classes)
    for entry in recipe.classes:
        assert len(entry.grammar) >= 5
        assert "  " not in entry.grammar[-1] + entry.reference
    assert not any(entry.grammar.a_or_an for entry in recipe.classes) or name == "chestxray14"


def test_the_papers_cifar_10_recipe_has_the_papers_words() -> None:
    recipe = CaptionGrammar.recipe("cifar10")
    assert len(recipe) == 10
    assert len(recipe["cat"]) == 9 * (7 + 4)
    assert len(recipe["frog"]) == 9 * (7 + 2)
    assert "a photo of a white cat on the grass" in recipe["cat"]
    assert "a photo of a white truck in the ocean" not in recipe["truck"]


def test_the_demo_recipe_says_what_the_renderer_draws() -> None:
    recipe = CaptionGrammar.recipe("demo")
    assert tuple(recipe) == world_settings().class_names
    assert sorted(c for grammar in recipe.values() for c in grammar) == sorted(c.text for c in all_captions())


def test_the_extended_nouns_have_what_the_papers_figures_show() -> None:
    """Appendix C.1.3 prints these captions of CIFAR-Extended."""
    recipe = CaptionRecipe.bundled("cifar10_extended")
    for name, caption in {
        "cat": "a photo of a white mouser on the grass",
        "bird": "a photo of a white oscine inside",
        "automobile": "a photo of a black sedan",
        "airplane": "a photo of a black jet on a white background",
        "horse": "a photo of a protohippus inside",
        "frog": "a photo of a green chameleon tree frog",
        "dog": "a photo of a white saint bernard inside",
        "deer": "a photo of a kob inside",
    }.items():
        assert caption in set(recipe.grammars[name])
        assert recipe.references[name] == f"a photo of a {name}"
    simple = CaptionRecipe.bundled("cifar10")
    assert list(recipe.grammars) == list(simple.grammars)
    for name, grammar in recipe.grammars.items():
        assert grammar.slots["preposition"] == simple.grammars[name].slots["preposition"]
    assert "persian cat" in recipe.grammars["cat"].slots["noun"]
    assert "painter" not in recipe.grammars["cat"].slots["noun"]  # a cougar, but only in third place
    assert "coonhound" not in recipe.grammars["dog"].slots["noun"]  # not in the list of words


def test_the_extended_nouns_are_shipped_nouns() -> None:
    nouns = set(CaptionRecipe.bundled("cifar10_extended").grammars["dog"].slots["noun"])
    assert nouns < {noun.lower() for noun in nouns_below("dog.n.01", common=True)}


def test_imagenets_classes_go_with_their_ancestors_as_the_paper_counts_them() -> None:
    recipe = CaptionRecipe.bundled("imagenet")
    assert len(recipe.classes) == len({entry.also[0] for entry in recipe.classes}) == 1000
    nouns = Counter(noun for entry in recipe.classes for noun in entry.grammar.slots["noun"])
    assert nouns == PUBLISHED
    assert all(entry.reference == f"a photo of a {entry.grammar.slots['noun'][0]}" for entry in recipe.classes)


def test_imagenets_captions_are_the_papers() -> None:
    recipe = CaptionRecipe.bundled("imagenet")
    assert "a photo of a orange fish with a person" in recipe.grammars["tench"]  # figure 10
    assert "a photo of a white canine outside" in recipe.grammars["red wolf"]
    assert len(recipe.grammars["red wolf"]) == 13 * 13
    assert len(recipe.grammars["warthog"].slots["adjective"]) == 13
    assert "one the ground" in recipe.grammars["bagel"].slots["preposition"]  # as the paper writes it
    assert len(pool_captions([entry.grammar for entry in recipe.classes])[0]) == sum(
        len(grammar) for grammar in {id(entry.grammar): entry.grammar for entry in recipe.classes}.values()
    )


def test_imagenets_two_cranes_and_two_maillots_stay_two() -> None:
    names = [
        {"crane bird": "crane", "maillot tank suit": "maillot"}.get(e.name, e.name)
        for e in CaptionRecipe.bundled("imagenet").classes
    ]
    assert Counter(names)["crane"] == Counter(names)["maillot"] == 2
    recipe = CaptionRecipe.resolve("imagenet", names)
    assert (recipe.fallen_back, recipe.ambiguous) == ((), ())
    assert [recipe.classes[i].reference for i in (134, 517)] == ["a photo of a bird", "a photo of a device"]
    assert {entry.also[0] for entry in recipe.classes if entry.name == "maillot"} == {"n03710637", "n03710721"}
    assert len(recipe.grammars) == 1000
    few = CaptionRecipe.resolve("imagenet", ["crane", "n03126707", "tench"])
    assert [entry.reference for entry in few.classes] == [
        "a photo of a bird",
        "a photo of a device",
        "a photo of a fish",
    ]


def test_imagenet_c_is_imagenet_with_noise() -> None:
    plain, noisy = CaptionGrammar.recipe("imagenet")["tench"], CaptionGrammar.recipe("imagenet_c")["tench"]
    assert set(plain) < set(noisy)
    assert all(
        "nois" in c or "grain" in c or "pixel" in c or "quality" in c or "static" in c for c in set(noisy) - set(plain)
    )


def test_cifar_100_asks_for_the_subclasses_and_has_those_that_the_paper_drops() -> None:
    recipe = CaptionRecipe.bundled("cifar100")
    assert [len(grammar) for grammar in recipe.grammars.values()] == [5] * 20
    dropped = {  # C.2 on, "Specifically, we drop the classes"
        "aquatic mammals": "beaver", "fish": "shark", "flowers": "orchid", "food containers": "bowl",
        "fruit and vegetables": "mushroom", "household electrical devices": "lamp", "household furniture": "table",
        "insects": "caterpillar", "large carnivores": "bear", "large outdoor man-made things": "bridge",
        "large outdoor natural scenes": "forest", "large omnivores and herbivores": "kangaroo",
        "medium sized mammals": "possum", "non-insect invertebrates": "lobster", "people": "baby",
        "reptiles": "lizard", "small mammals": "squirrel", "trees": "willow tree", "vehicles 1": "bus",
        "vehicles 2": "streetcar",
    }  # fmt: skip
    for entry, noun in zip(CaptionRecipe.resolve("cifar100", list(dropped)).classes, dropped.values(), strict=True):
        assert f"a photo of a {noun}" in entry.grammar
    assert CaptionRecipe.resolve("cifar100", ["large_man-made_outdoor_things", "medium_mammals"]).fallen_back == ()


def test_celeba_has_the_papers_captions_and_a_phrase_an_attribute() -> None:
    recipe = CaptionRecipe.bundled("celeba")
    assert set(recipe.references.values()) == {"a photo of a person"}
    for grammar in recipe.grammars.values():
        assert {
            "a photo of a young woman who has an oval face",
            "a photo of a young woman who has heavy makeup on",
            "a photo of a young woman who has brown hair",
            "a photo of a man who has no beard",
            "a photo of a man who has a mouth that is slightly open",
            "a photo of a man who has a smile",
            "a photo of a person with a moustache",
        } < set(grammar)
        assert len(grammar.slots["attribute"]) == 40 - len({"Male", "Young"}) + len({None})


def test_coloured_mnist_has_every_tint_and_digit_in_both_classes() -> None:
    below, above = CaptionRecipe.resolve("coloured_mnist", ["0", "1"]).classes
    assert below.reference == above.reference == "a photo of a handwritten digit"
    assert below.grammar is above.grammar
    assert "a photo of a green handwritten seven" in below.grammar


def test_chestxray14_asks_a_question_a_condition() -> None:
    recipe = CaptionRecipe.resolve("chestxray14", ["Pleural_Thickening", "no effusion", "No Mass"])
    assert recipe.fallen_back == ()
    assert len(CaptionGrammar.recipe("chestxray14")) == 2 * 14
    thick, none, _ = recipe.classes
    assert thick.reference == "a chest X-ray with pleural thickening"
    assert none.reference == "a chest X-ray without pleural effusion"
    assert "a blurry AP chest X-ray without pleural effusion" in none.grammar
    assert "an anterior-posterior chest X-ray without pleural effusion with the marker portable" in none.grammar

"""Vocabularies, built in and from files of every kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from saywhy.errors import SaywhyError
from saywhy.questions.names_and_defaults import VOCABULARIES, load_vocabulary
from saywhy.words.cub_names import cub_attribute
from saywhy.words.vocabulary import VocabularyWarning


@pytest.mark.parametrize("name", VOCABULARIES)
def test_built_in_vocabularies_are_clean(name: str) -> None:
    vocabulary = load_vocabulary(name)
    assert len(vocabulary) > (50 if name != "world:digits" else 4)
    assert len(set(vocabulary.phrases)) == len(vocabulary.phrases) == len(vocabulary.groups)
    assert all(p == p.strip() and p and "{}" not in p for p in vocabulary.phrases)
    assert all(g for g in vocabulary.groups)
    assert all(vocabulary.phrases[n] in prompt for n in range(len(vocabulary)) for prompt in vocabulary.prompts(n))


def test_text_files_may_have_groups_and_comments(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("# my words\nhooked bill\ncolour: red crown\ncolour: blue wing\n")
    vocabulary = load_vocabulary(tmp_path / "x.txt")
    assert vocabulary.phrases == ("hooked bill", "red crown", "blue wing")
    assert vocabulary.groups == ("", "colour", "colour")
    assert vocabulary.name == "x"


@pytest.mark.parametrize("content", [["a", "b"], {"g": ["a"], "h": ["b"]}, {"g": "a", "h": "b"}])
def test_json_files(tmp_path: Path, content: object) -> None:
    (tmp_path / "x.json").write_text(json.dumps(content))
    assert load_vocabulary(tmp_path / "x.json").phrases == ("a", "b")


def test_attributes_of_cub(tmp_path: Path) -> None:
    (tmp_path / "attributes.txt").write_text(
        "1 has_bill_shape::curved_(up_or_down)\n2 has_wing_color::blue\n3 has_size::small_(5_-_9_in)\n"
    )
    vocabulary = load_vocabulary(tmp_path / "attributes.txt")
    assert vocabulary.phrases == ("curved bill", "blue wing", "small bird")
    assert vocabulary.groups == ("bill shape", "wing color", "size")


def test_an_attribute_is_part_kind_and_value() -> None:
    assert cub_attribute("has_upper_tail_color::red") == ("upper_tail", "color", "red")
    assert cub_attribute("has_size::small_(5_-_9_in)") == ("size", "", "small_(5_-_9_in)")
    assert cub_attribute("7 has_head_pattern::eyering") == ("head", "pattern", "eyering")
    for other in ("has_bill_shape", "bill_shape::hooked", "has_bill_shape::", "hooked bill"):
        with pytest.raises(SaywhyError, match="is not an attribute in CUB"):
            cub_attribute(other)


def test_duplicates_and_empty_lines_are_left_out_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("red\n\nblue\nred\n  \ngreen\n")
    with pytest.warns(VocabularyWarning, match="1 duplicates and 2 empty"):
        assert load_vocabulary(tmp_path / "x.txt").phrases == ("red", "blue", "green")


def test_vocabularies_join_and_keep_their_prompts() -> None:
    both = load_vocabulary("birds+concepts")
    birds, concepts = load_vocabulary("birds"), load_vocabulary("concepts")
    assert set(both.phrases) == set(birds.phrases) | set(concepts.phrases)
    hooked, metal = both.phrases.index("hooked bill"), both.phrases.index("made of metal")
    assert both.prompts(hooked) == birds.prompts(birds.phrases.index("hooked bill"))
    assert both.prompts(metal) == concepts.prompts(concepts.phrases.index("made of metal"))


def test_what_of_a_bird_excludes_what(tmp_path: Path) -> None:
    birds, concepts = load_vocabulary("birds"), load_vocabulary("concepts")
    assert birds.exclusive == set(birds.groups)
    assert not concepts.exclusive
    both = load_vocabulary("birds+concepts")
    assert both.exclusive == birds.exclusive - set(concepts.groups)  # "round shape" does not exclude "owl-like shape"
    assert "wing color" in both.exclusive
    (tmp_path / "x.txt").write_text("wing color: red wings\nwing color: blue wings\n")
    assert not load_vocabulary(tmp_path / "x.txt").exclusive


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", b"{", "not JSON"),
        ("x.json", b"[1, 2]", "expected a list"),
        ("x.txt", b"\n\n# nothing\n", "contains no phrases"),
        ("x.txt", b"\xff\xfe\x00\xd8", "UTF-16"),
    ],
)
def test_what_is_no_vocabulary_says_so(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SaywhyError, match=message):
        load_vocabulary(tmp_path / name)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(SaywhyError, match="did you mean concepts"):
        load_vocabulary("concept")


def test_published_descriptors_are_read(pack: Path) -> None:
    path = pack / "text" / "classify_by_description" / "descriptors_cub.json"
    with pytest.warns(VocabularyWarning):
        assert len(load_vocabulary(path)) > 300
    assert len(load_vocabulary(pack / "text" / "cub" / "attributes.txt")) > 250


def test_attributes_tell_colour_shape_and_pattern_of_a_part_apart() -> None:
    vocabulary = load_vocabulary("world:aviary")
    of = {phrase: vocabulary.attribute(n) for n, phrase in enumerate(vocabulary.phrases)}
    assert (of["red wing"], of["blue wing"], of["striped wing"]) == ("wing color", "wing color", "wing pattern")
    assert (of["water"], of["a letter in the corner"]) == ("background", None)
    joined = load_vocabulary("world:aviary+birds")
    assert {joined.attribute(n) for n in range(len(joined))} >= {"wing color", "bill shape", None}


def test_without_attributes_the_exclusive_groups_are_the_attributes() -> None:
    birds, concepts = load_vocabulary("birds"), load_vocabulary("concepts")
    assert [birds.attribute(n) for n in range(len(birds))] == list(birds.groups)
    assert {concepts.attribute(n) for n in range(len(concepts))} == {None}

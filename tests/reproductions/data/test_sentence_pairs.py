"""Sentences and translations: the made languages, Multi30k, subwords, and batches of numbers."""

import gzip
import itertools

import numpy as np
import pytest

from reproductions.data.data_dir import DataError
from reproductions.data.sentence_pairs import made_languages, multi30k
from reproductions.data.sentence_pairs.made_languages import NounPhrase, Sentence
from reproductions.data.sentence_pairs.pair_batches import SentencePairs, padded_length
from reproductions.data.sentence_pairs.subwords import END, PADDING, START, Subwords

# The made languages


def with_known_words():
    languages = made_languages.Languages()
    for side, letter in ((languages.source, "s"), (languages.target, "t")):
        for kind, words in side.items():
            side[kind] = [f"{letter}{kind[0].upper()}{i}" for i in range(len(words))]
    languages.genders = np.arange(made_languages.COUNTS["nouns"]) % 3
    return languages


def said(**changes):
    simple = Sentence(NounPhrase(1, 0), 5, 0, NounPhrase(3, 1), None, None, False)
    return simple._replace(**changes)


@pytest.mark.parametrize(
    "changes, source, target",
    [
        # Gender 0 of the object: the verb's other translation.
        ({}, "sN1 sN3imat sV5o.", "la tN1 tO5a los tN3s."),
        (dict(object_first=True), "sN3imat sN1 sV5o.", "la tN1 tO5a los tN3s."),
        (dict(object=NounPhrase(4, 0), tense=1), "sN1 sN4at sV5e.", "la tN1 tV5voa la tN4."),
        (
            dict(subject=NounPhrase(2, 1, 7), adverb=3, place=NounPhrase(0, 0)),
            "sA3 sA7 sN2im sN3imat sN0ul sV5o.",
            "dun tN2s tA7uni tO5int los tN3s ni lo tN0 tA3.",
        ),
        (
            dict(subject=NounPhrase(0, 1, 2, (9, NounPhrase(5, 0)))),
            "sN5at sV9uk sA2 sN0im sN3imat sV5o.",
            "los tN0s tA2os ke tV9ent du tN5 tO5ent los tN3s.",
        ),
    ],
)
def test_order_agreement_and_choice_of_words(changes, source, target):
    languages, sentence = with_known_words(), said(**changes)
    assert languages.in_source(sentence) == source
    assert languages.in_target(sentence) == target


def test_all_words_differ_so_that_a_translation_is_the_only_one():
    languages = made_languages.Languages()
    sides = languages.source, languages.target
    words = [word for side in sides for words in side.values() for word in words]
    assert len(set(words)) == len(words)


def test_held_out_pairs_are_beside_each_other_in_the_other_test_alone():
    languages, splits = made_languages.Languages(), made_languages.made_pairs()
    adjectives = set(languages.source["adjectives"])
    seen = {}
    for name, (sentences, translations) in splits.items():
        assert len(sentences) == len(translations) == made_languages.SPLITS[name]
        seen[name] = [
            {(word, noun[:5]) for word, noun in itertools.pairwise(words) if word in adjectives}
            for words in map(str.split, sentences)
        ]
    held_out = {
        (adjective, noun)
        for a, adjective in enumerate(languages.source["adjectives"])
        for n, noun in enumerate(languages.source["nouns"])
        if (3 * n + 5 * a) % 7 == 0
    }
    assert all(pairs & held_out for pairs in seen.pop("other"))
    assert not any(pairs & held_out for pairs in itertools.chain(*seen.values()))
    sentences = [text for side, _ in splits.values() for text in side]
    assert len(set(sentences)) == len(sentences)


# Multi30k


def write_multi30k(folder, **changed):
    folder.mkdir(exist_ok=True)
    for name in multi30k.FILES.values():
        for language, line in (("de", "Ein Hund läuft."), ("en", "A dog runs.")):
            content = changed.get(f"{name}_{language}", gzip.compress(f"{line}\n".encode() * 3))
            (folder / f"{name}.{language}.gz").write_bytes(content)


@pytest.mark.parametrize("folder", [".", "multi30k"])
def test_multi30k_is_read_line_by_line(tmp_path, folder):
    write_multi30k(tmp_path / folder)
    splits = multi30k.multi30k("de", "en", tmp_path)
    assert list(splits) == ["train", "valid", "test", "other"]
    assert splits["test"] == (["Ein Hund läuft."] * 3, ["A dog runs."] * 3)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"plain", r"val\.en\.gz is not a readable text"),
        (gzip.compress(b"A dog runs.\n" * 99)[:-9], "is not a readable text"),
        (gzip.compress(b"\n"), "is empty"),
        (gzip.compress(b"A dog.\n"), "have 3 and 1 lines"),
    ],
)
def test_corrupt_files_are_told(tmp_path, content, message):
    write_multi30k(tmp_path, val_en=content)
    with pytest.raises(DataError, match=message):
        multi30k.multi30k("de", "en", tmp_path)


def test_missing_files_are_told(tmp_path):
    with pytest.raises(DataError, match=r"train\.de\.gz was not found.*`made` needs no files"):
        multi30k.multi30k("de", "en", tmp_path)


# Subwords


def test_pieces_give_the_text_back():
    texts = ["Ein Hündchen läuft über die Straße.", "«Où?» – L'été, à Besançon!", "A dog runs."] * 9
    texts += made_languages.made_pairs()["train"][0][:200]
    subwords = Subwords(texts, 200)
    numbers = subwords.encode(texts)
    assert subwords.size == 200 and min(map(min, numbers)) > max(PADDING, START, END)
    assert subwords.decode(numbers) == texts
    # Arrays too, and what is no piece of the text is left out.
    assert subwords.decode([np.array([START, *numbers[0], END])]) == texts[:1]
    assert "".join(subwords.pieces(numbers[2])) == "▁A▁dog▁runs."


def test_the_same_sentences_give_the_same_pieces():
    texts = made_languages.made_pairs()["train"][1][:300]
    first, second = (Subwords(texts, 150).encode(texts) for _ in range(2))
    assert first == second


# Batches


@pytest.mark.parametrize("longest, length", [(1, 4), (4, 4), (5, 8), (8, 8), (9, 16), (17, 24)])
def test_lengths_are_few(longest, length):
    assert padded_length(longest, (4, 8)) == length


def pairs(**changes):
    splits = {
        name: tuple(side[:60] for side in texts)
        for name, texts in made_languages.made_pairs().items()
    }
    settings = dict(pieces=180, batch=8, steps=5, lengths=(16, 32)) | changes
    return SentencePairs(splits, **settings), splits


def trimmed(rows):
    return [row[row != PADDING].tolist() for row in rows]


def test_numbers_are_those_of_the_sentences():
    data, splits = pairs()
    for name, numbers in (("valid", data.valid), ("test", data.test), ("other", data.other_test)):
        (source, before), behind = numbers
        assert {source.shape[1], before.shape[1], behind.shape[1]} <= {16, 32, 64}
        sentences, translations = map(data.subwords.encode, splits[name])
        assert trimmed(source) == [[*row, END] for row in sentences]
        assert trimmed(before) == [[START, *row] for row in translations]
        assert trimmed(behind) == [[*row, END] for row in translations]
        assert data.references(name) == splits[name][1]


def test_batches_are_pairs_of_like_length_in_an_order_of_seed_and_epoch():
    data, splits = pairs()
    known = dict(zip(*splits["train"], strict=True))
    texts = []
    for (source, before), behind in data.train(0, 0):
        source, before, behind = map(np.asarray, (source, before, behind))
        assert source.shape == before.shape == behind.shape and source.shape[1] in (16, 32)
        goes_on = behind[:, 1:] > 0
        np.testing.assert_array_equal(before[:, 1:][goes_on], behind[:, :-1][goes_on])
        sentences, translations = (data.subwords.decode(trimmed(rows)) for rows in (source, behind))
        assert [known[text] for text in sentences] == translations
        texts += sentences
    assert len(texts) == 5 * 8 and len(set(texts)) == len(texts)

    def first(*position):
        return next(data.batches(*position))[1].tolist()

    assert first(0, 1) == first(0, 1)
    assert first(0, 1) != first(0, 2) != first(1, 1)


def test_more_steps_than_batches_begin_anew_and_few_pairs_repeat():
    data, _ = pairs(steps=20, lengths=(12, 32))
    assert len(list(data.batches(0, 0))) == 20
    data, _ = pairs(batch=100, steps=2)
    assert [y.shape[0] for _, y in data.batches(0, 0)] == [100, 100]


def test_pairs_longer_than_all_lengths_are_tested_but_not_trained_on():
    data, _ = pairs(lengths=(14,))
    assert 0 < sum(len(y) for _, y in data.buckets) < 60
    assert len(data.test[1]) == 60
    data, _ = pairs(lengths=(2,))
    with pytest.raises(DataError, match="No training pair has at most 2 pieces"):
        next(data.batches(0, 0))

"""Two languages made by rules: sentences of one, and their only translation into the other.

The source has the verb at its end, and endings for number and case. Subject and object come in
either order, an adjective stands before its noun, and so does a relative clause. The target has the
order subject, verb, object, place, adverb. An adjective stands behind its noun, a relative clause
behind both. Articles and adjectives agree with the noun, which has one of three genders, and verbs
agree with the subject. Each verb has two translations: one of them for objects of the first gender.
"""

import itertools
from functools import cache
from typing import NamedTuple

import numpy as np

SEED = 11
COUNTS = dict(nouns=45, verbs=20, adjectives=18, adverbs=6)
SPLITS = dict(train=1500, valid=300, test=300, other=300)
# The source's endings.
PLURAL, CASES, TENSES, RELATIVE = "im", dict(subject="", object="at", place="ul"), ("o", "e"), "uk"
# The target's, by gender and number where there are pairs.
ARTICLES = (("lo", "los"), ("la", "las"), ("du", "dun"))
NOUN_ENDINGS = ("", "s")
ADJECTIVE_ENDINGS = (("o", "os"), ("a", "as"), ("un", "uni"))
VERB_ENDINGS = (("e", "ent"), ("a", "ant"), ("i", "int"))
TARGET_TENSES = ("", "vo")
THAT, AT = "ke", "ni"


class NounPhrase(NamedTuple):
    """Numbers of words; the relative clause is a verb and its object."""

    noun: int
    plural: int
    adjective: int | None = None
    clause: "tuple[int, NounPhrase] | None" = None


class Sentence(NamedTuple):
    """What is said. Which of subject and object comes first does not change the translation."""

    subject: NounPhrase
    verb: int
    tense: int
    object: NounPhrase
    place: NounPhrase | None
    adverb: int | None
    object_first: bool


class Languages:
    """The words of both languages, and the sentences that they make."""

    def __init__(self):
        rng = np.random.default_rng(SEED)
        self.source = _words(rng, "bdgkmz", COUNTS)
        self.target = _words(rng, "cflnpr", COUNTS | dict(other_verbs=COUNTS["verbs"]))
        self.genders = rng.integers(0, len(ARTICLES), COUNTS["nouns"])

    def draw(self, rng: np.random.Generator) -> Sentence:
        """A sentence whose words are drawn one without the other."""

        def maybe(share, value):
            return value() if rng.random() < share else None

        def one_of(kind):
            return int(rng.integers(COUNTS[kind]))

        def phrase(adjective, clause=0.0):
            return NounPhrase(
                one_of("nouns"),
                int(rng.integers(2)),
                maybe(adjective, lambda: one_of("adjectives")),
                maybe(clause, lambda: (one_of("verbs"), phrase(0.0))),
            )

        return Sentence(
            subject=phrase(0.5, clause=0.3),
            verb=one_of("verbs"),
            tense=int(rng.integers(len(TENSES))),
            object=phrase(0.5),
            place=maybe(0.3, lambda: phrase(0.0)),
            adverb=maybe(0.4, lambda: one_of("adverbs")),
            object_first=bool(rng.integers(2)),
        )

    def in_source(self, sentence: Sentence) -> str:
        words = self.source

        def phrase(said, case):
            found = []
            if said.clause is not None:
                verb, whom = said.clause
                found += [*phrase(whom, "object"), words["verbs"][verb] + RELATIVE]
            if said.adjective is not None:
                found.append(words["adjectives"][said.adjective])
            ending = PLURAL * said.plural + CASES[case]
            return [*found, words["nouns"][said.noun] + ending]

        parts = [phrase(sentence.subject, "subject"), phrase(sentence.object, "object")]
        parts = parts[::-1] if sentence.object_first else parts
        if sentence.adverb is not None:
            parts.insert(0, [words["adverbs"][sentence.adverb]])
        if sentence.place is not None:
            parts.append(phrase(sentence.place, "place"))
        parts.append([words["verbs"][sentence.verb] + TENSES[sentence.tense]])
        return " ".join(itertools.chain(*parts)) + "."

    def in_target(self, sentence: Sentence) -> str:
        words = self.target

        def verb(number, subject, whom, tense=0):
            stems = words["verbs" if self.genders[whom.noun] else "other_verbs"]
            ending = VERB_ENDINGS[self.genders[subject.noun]][subject.plural]
            return stems[number] + TARGET_TENSES[tense] + ending

        def phrase(said):
            gender = self.genders[said.noun]
            noun = words["nouns"][said.noun] + NOUN_ENDINGS[said.plural]
            found = [ARTICLES[gender][said.plural], noun]
            if said.adjective is not None:
                ending = ADJECTIVE_ENDINGS[gender][said.plural]
                found.append(words["adjectives"][said.adjective] + ending)
            if said.clause is not None:
                number, whom = said.clause
                found += [THAT, verb(number, said, whom), *phrase(whom)]
            return found

        subject, whom = sentence.subject, sentence.object
        found = [*phrase(subject), verb(sentence.verb, subject, whom, sentence.tense)]
        found += phrase(whom)
        if sentence.place is not None:
            found += [AT, *phrase(sentence.place)]
        if sentence.adverb is not None:
            found.append(words["adverbs"][sentence.adverb])
        return " ".join(found) + "."


def _words(rng, consonants, counts):
    """Words by kind: two syllables and a consonant, each another."""
    syllables = ["".join(pair) for pair in itertools.product(consonants, "aeiou")]
    stems = ["".join(parts) for parts in itertools.product(syllables, syllables, consonants)]
    chosen = iter(rng.permutation(stems).tolist())
    return {kind: list(itertools.islice(chosen, count)) for kind, count in counts.items()}


def is_held_out(sentence: Sentence) -> bool:
    """Whether an adjective is beside a noun that it is never beside in training."""
    phrases = (sentence.subject, sentence.object)
    return any(
        phrase.adjective is not None and (3 * phrase.noun + 5 * phrase.adjective) % 7 == 0
        for phrase in phrases
    )


@cache
def made_pairs() -> dict[str, tuple[list[str], list[str]]]:
    """{split: (sentences, translations)}; no sentence comes twice.

    In `other` there is, in each sentence, an adjective beside a noun that it is beside in no other
    split: one of seven of these pairs is held out.
    """
    languages, rng = Languages(), np.random.default_rng(SEED + 1)
    splits: dict[str, dict[str, str]] = {name: {} for name in SPLITS}
    seen: set[str] = set()
    while any(len(splits[name]) < count for name, count in SPLITS.items()):
        sentence = languages.draw(rng)
        text, held_out = languages.in_source(sentence), is_held_out(sentence)
        fitting = (
            name
            for name, count in SPLITS.items()
            if held_out == (name == "other") and len(splits[name]) < count
        )
        name = next(fitting, None)
        if name is not None and text not in seen:
            seen.add(text)
            splits[name][text] = languages.in_target(sentence)
    return {name: (list(pairs), list(pairs.values())) for name, pairs in splits.items()}

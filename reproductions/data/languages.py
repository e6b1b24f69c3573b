"""Texts in many languages: the messages of Django, which its package holds in translations.

The package must be installed, not configured: only its message files are read. The texts differ a
little between its versions.
"""

import zlib
from functools import cache
from importlib import util
from pathlib import Path

import numpy as np

from reproductions.data.data_dir import DataError

SMALLEST = 15_000  # bytes of all splits together
# Held out: these have a related language among the others,
RELATED = ("sk", "uk", "gl", "nn", "hsb", "mk", "af", "az", "et", "ga")
# these only its script,
SCRIPT = ("ky", "is")
# and the script of this one is in no other.
ALONE = ("th",)
HELD_OUT = RELATED + SCRIPT + ALONE
Parts = dict[str, np.ndarray]  # by split


@cache
def messages(names: tuple[str, ...] | None = None) -> dict[str, Parts]:
    """{language: {"train" | "valid" | "test": bytes in UTF-8, as uint8}}.

    Of the languages `names`; None (default) for all large enough besides English.

    A message is in the same split in all languages: else the translation into a related language
    would tell what is tested. What a split repeats of the training text is left out.
    """
    found = util.find_spec("django")
    if found is None or found.origin is None:
        raise DataError(
            "The data `languages` are the messages of Django; install it: pip install django"
        )
    root = Path(found.origin).parent
    folders = sorted(root.glob("conf/locale/*/LC_MESSAGES"))
    languages = {}
    for name in names or [folder.parent.name for folder in folders]:
        splits = _splits(_translations(root, name))
        parts = {
            split: np.frombuffer("\n".join(lines).encode(), np.uint8)
            for split, lines in splits.items()
        }
        if name != "en" and sum(map(len, parts.values())) >= SMALLEST:
            languages[name] = parts
    return languages


def _translations(root, name):
    """Pairs (message, translation) of a language, from the compiled files, which have no drafts."""
    from babel.messages.mofile import read_mo

    pairs = []
    for path in sorted(root.glob(f"**/locale/{name}/LC_MESSAGES/*.mo")):
        with path.open("rb") as file:
            for message in read_mo(file):
                plural = not isinstance(message.id, str)
                key = message.id[0] if plural else message.id
                if key:  # else it is the file's header
                    pairs += [
                        (key, text) for text in (message.string if plural else [message.string])
                    ]
    return pairs


def _splits(translations):
    splits: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for message, text in translations:
        place = zlib.crc32(message.encode()) % 100
        split = "test" if place < 15 else "valid" if place < 20 else "train"
        splits[split].append(text.strip())
    seen: set[str] = set()
    for lines in splits.values():  # the training text first
        lines[:] = [line for line in dict.fromkeys(lines) if line and line not in seen]
        seen.update(lines)
    return splits

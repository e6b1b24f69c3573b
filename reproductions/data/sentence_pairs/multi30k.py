"""Multi30k: captions of photographs in English, German and French (Elliott et al. 2016)."""

import gzip
import zlib
from pathlib import Path

from reproductions.data.data_dir import DataError, find

FILES = dict(train="train", valid="val", test="test_2016_flickr", other="test_2017_flickr")


def multi30k(
    source: str, target: str, data_dir: Path | None = None
) -> dict[str, tuple[list[str], list[str]]]:
    """{split: (sentences, translations)} of two of "en", "de" and "fr", from `train.de.gz` etc."""
    splits = {}
    for split, name in FILES.items():
        paths = [
            find(f"{name}.{language}.gz", data_dir, "multi30k", embedded="made")
            for language in (source, target)
        ]
        sentences, translations = map(_lines, paths)
        if len(sentences) != len(translations):
            raise DataError(
                f"{paths[0]} and {paths[1]} have {len(sentences)} and {len(translations)} lines, "
                "where each line of one is the translation of the other's"
            )
        splits[split] = sentences, translations
    return splits


def _lines(path):
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path} is not a readable text: {error}") from error
    if not any(lines):
        raise DataError(f"{path} is empty")
    return lines

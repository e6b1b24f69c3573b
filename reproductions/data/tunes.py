"""Music as arrays of notes on a grid of sixteenths, and its batches as graphs of index tuples.

A piece is `[n, 4]`: the tick at which each note begins, its pitch, its duration and its velocity,
sorted by tick and pitch. As a graph it has a triple (note, predicate, object) for each of these
numbers. `generated` makes tunes by rules; the readers cut Nottingham's tunes and Bach's chorales
into phrases.
"""

import json
import tarfile
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from reproductions.data import midi_ld
from reproductions.data.data_dir import DataError, find

PREDICATES = ("tick", "note", "duration", "velocity")
OBJECTS = 128  # of each predicate: ticks, pitches, durations and velocities

MODES = {"major": (0, 2, 4, 5, 7, 9, 11), "dorian": (0, 2, 3, 5, 7, 9, 10)}
# A bar's length in sixteenths, its beats, and the durations that fill a bar, and the last one.
METERS = (
    (16, (0, 4, 8, 12), "4444 44224 22444 6244 844 222244 42244", "448 2248"),
    (12, (0, 4, 8), "444 84 624 4224 2244 22224", "48 228"),
    (12, (0, 6), "4242 22242 222222 426 642", "426 2226"),
)
DOWNBEAT, BEAT, OFF_BEAT = 96, 80, 64  # velocities


def tune(rng: np.random.Generator) -> np.ndarray:
    """Four bars: a motif, an answer, the motif again, maybe on another degree, and a cadence."""
    tonic, mode = 55 + rng.integers(12), MODES[("major", "dorian")[rng.integers(2)]]
    length, beats, bars, ends = METERS[rng.integers(len(METERS))]
    motif, answer = (_rhythm(rng, bars) for _ in range(2))
    ending = _rhythm(rng, ends)
    shift = int(rng.choice((0, 0, 1, -1)))
    first = _line(rng, len(motif), rng.choice((0, 2, 4)), 0)
    second = _line(rng, len(answer), rng.choice((1, 3, 4)), first[-1])
    last = _line(rng, len(ending) - 1, rng.choice((1, 4)), first[-1] + shift)
    degrees = [first, second, [d + shift for d in first], [*last, 0 if last[-1] < 4 else 7]]
    notes = []
    for bar, (rhythm, line) in enumerate(zip((motif, answer, motif, ending), degrees, strict=True)):
        at = 0
        for duration, degree in zip(rhythm, line, strict=True):
            octave, step = divmod(int(degree), 7)
            velocity = DOWNBEAT if at == 0 else BEAT if at in beats else OFF_BEAT
            pitch = tonic + 12 * octave + mode[step]
            notes.append((bar * length + at, pitch, duration, velocity))
            at += duration
    return np.array(notes, "int32")


def _rhythm(rng, choices):
    return [int(c) for c in rng.choice(choices.split())]


def _line(rng, count, start, near):
    """Scale degrees: mostly by step, within −2 to 9; begins on `start`, in the octave near."""
    line = [int(start) + (7 if near > 5 and start < 3 else 0)]
    while len(line) < count:
        step = int(rng.choice((-3, -2, -1, -1, 0, 1, 1, 2, 3)))
        line.append(line[-1] + (step if -2 <= line[-1] + step <= 9 else -step))
    return line


def broken_rules(notes: np.ndarray) -> set[str]:
    """Which of `tune`'s rules a piece breaks, told from its notes alone."""
    if len(notes) < 2:
        return {"length"}
    at, pitch, duration, velocity = np.asarray(notes, "int64").T
    broken, end = set(), at[-1] + duration[-1]
    if (at[1:] != at[:-1] + duration[:-1]).any() or at[0] != 0:
        broken.add("one voice without gaps")
    meters = [(bar, beats) for bar, beats, _, _ in METERS if end == 4 * bar]
    if not meters:
        return broken | {"four bars"}
    scale = {tuple(sorted((pitch[-1] + step) % 12 for step in mode)) for mode in MODES.values()}
    if not any(set(pitch % 12) <= set(tones) for tones in scale):
        broken.add("the scale of the last note")
    for bar, beats in meters:
        place = at % bar
        accents = np.where(place == 0, DOWNBEAT, np.where(np.isin(place, beats), BEAT, OFF_BEAT))
        if (accents == velocity).all():
            break
    else:
        broken.add("accents")
    bar = meters[0][0]
    if (np.diff(np.unique(at // bar)) != 1).any() or not np.isin(np.arange(4) * bar, at).all():
        return broken | {"a note on each downbeat"}
    first_bar, third_bar = (np.flatnonzero(at // bar == k) for k in (0, 2))
    if len(first_bar) != len(third_bar) or (duration[first_bar] != duration[third_bar]).any():
        broken.add("the motif again")
    elif np.ptp(pitch[third_bar] - pitch[first_bar]) > 2:  # a degree higher: one or two semitones
        broken.add("the motif again")
    return broken


def generated(config: dict[str, Any]) -> dict[str, list[np.ndarray]]:
    """{split: tunes}, all different."""
    rng, unique = np.random.default_rng(0), {}
    counts = {split: config[split] for split in ("train", "valid", "test")}
    while len(unique) < sum(counts.values()):
        notes = tune(rng)
        unique[notes.tobytes()] = notes
    ends = np.cumsum(list(counts.values()))[:-1]
    tunes = list(unique.values())
    parts = np.split(np.arange(len(tunes)), ends)
    return {split: [tunes[i] for i in part] for split, part in zip(counts, parts, strict=True)}


def nottingham(data_dir: Path | None = None) -> dict[str, list[np.ndarray]]:
    """Phrases of four bars of the melodies, split by tune in parts of 80, 10 and 10 %."""
    path = find("nottingham*.tar.gz", data_dir, "music", embedded="generated")
    tunes = []
    try:
        with tarfile.open(path) as file:
            members = {m.name: m for m in file if m.isfile()}
            for name in sorted(n for n in members if "/melody/" in n and n.endswith(".mid")):
                content = file.extractfile(members[name]).read()
                tunes.append(_phrases(midi_ld.read_midi(content)))
    except (OSError, EOFError, zlib.error, tarfile.TarError, midi_ld.MidiError) as error:
        raise DataError(f"{path} is not a readable archive of tunes: {error}") from error
    if len(tunes) < 10:
        raise DataError(f"Expected ten or more MIDI/melody/*.mid in {path}, got {len(tunes)}")
    order = np.random.default_rng(0).permutation(len(tunes))
    parts = np.split(order, [len(tunes) * 8 // 10, len(tunes) * 9 // 10])
    return {
        split: [phrase for i in part for phrase in tunes[i]]
        for split, part in zip(("train", "valid", "test"), parts, strict=True)
    }


def _phrases(midi):
    """A melody's phrases of four bars; none with notes off the grid, or bars above 16 sixteenths.

    Notes that go on over a phrase's end are cut there.
    """
    signatures = [m for t in midi.tracks for m in t if m.type == "time_signature"]
    signature = (signatures[0].numerator, signatures[0].denominator) if signatures else (4, 4)
    bar = 16 * signature[0] // signature[1]
    if len({(m.numerator, m.denominator) for m in signatures}) > 1 or bar > 16:
        return []
    ticks = np.array([note[2:] for note in midi_ld.notes(midi)], "int64").reshape(-1, 4)
    unit = midi.ticks_per_beat / 4
    at, ends = ticks[:, 0] / unit, (ticks[:, 0] + ticks[:, 1]) / unit
    on_grid = (at == np.round(at)) & (ends == np.round(ends))
    grid = np.stack([at, ticks[:, 2], ends - at, ticks[:, 3]], axis=1)
    return _cut(grid, on_grid, 4 * bar)


def chorales(data_dir: Path | None = None) -> dict[str, list[np.ndarray]]:
    """Phrases of two bars of Bach's chorales, four voices; their own splits.

    The data hold a pitch for each sixteenth, so that a repeated note is one long note.
    """
    path = find("Jsb16thSeparated.json", data_dir, "music", embedded="generated")
    try:
        pieces = json.loads(path.read_text())
        splits = {
            split: [phrase for piece in pieces[split] for phrase in _chorale(np.array(piece))]
            for split in ("train", "valid", "test")
        }
    except (OSError, UnicodeDecodeError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} is not a readable set of chorales: {error!r}") from error
    return splits


def _chorale(voices):
    if voices.ndim != 2 or voices.shape[1] != 4 or voices.dtype.kind not in "iu":
        raise ValueError(f"expected a chorale of shape [t, 4], got {voices.shape}")
    if voices.max() >= OBJECTS:
        raise ValueError(f"expected pitches below {OBJECTS}, got {voices.max()}")
    notes = []
    for voice in voices.T:
        edges = np.flatnonzero(np.diff(voice, prepend=-2)).tolist()
        for start, end in zip(edges, [*edges[1:], len(voice)], strict=True):
            if voice[start] >= 0:
                notes.append((start, voice[start], end - start, BEAT))
    notes = np.array(sorted(set(notes)))
    return _cut(notes, np.ones(len(notes), bool), 32)


def _cut(notes, whole, length):
    """Phrases of `length` sixteenths that begin a note at once, without notes that aren't `whole`.

    A phrase has three notes or more; what sounds over its end is cut there.
    """
    phrases = []
    for start in range(0, int(notes[:, 0].max(initial=0)) + 1, length):
        inside = (notes[:, 0] >= start) & (notes[:, 0] < start + length)
        if inside.sum() < 3 or not whole[inside].all() or notes[inside, 0].min() != start:
            continue
        phrase = np.array(notes[inside], "int32")
        phrase[:, 0] -= start
        phrase[:, 2] = np.minimum(phrase[:, 2], length - phrase[:, 0])
        phrases.append(phrase[np.lexsort((phrase[:, 1], phrase[:, 0]))])
    return phrases


def triples(notes: np.ndarray) -> np.ndarray:
    """The graph of a piece: its index tuples (note, predicate, object), `[4 n, 3]`."""
    n = len(notes)
    subject, predicate = np.divmod(np.arange(4 * n), 4)
    return np.stack([subject, predicate, np.reshape(notes, -1)], axis=1).astype("int32")


def repaired(triples: np.ndarray) -> tuple[np.ndarray, bool]:
    """The notes `[n, 4]` of any index tuples, what is no note left out; and whether all was well.

    A note has one object for each predicate, a duration and a velocity above 0.
    """
    by_subject, whole = {}, True
    for subject, predicate, value in np.asarray(triples).tolist():
        note = by_subject.setdefault(subject, {})
        whole &= predicate not in note
        note.setdefault(predicate, value)
    good = [
        [note[p] for p in range(4)]
        for note in by_subject.values()
        if len(note) == 4 and note[2] > 0 and note[3] > 0
    ]
    whole &= len(good) == len(by_subject) > 0
    notes = np.array(good, "int32").reshape(-1, 4)
    return notes[np.lexsort((notes[:, 1], notes[:, 0]))], bool(whole)


def to_graph(triples: np.ndarray, resolution: int = 480) -> Any:
    """The midi-ld graph of index tuples, be they music or not: each as what it says, no more.

    A note is two events. What its tuples leave out is missing there, and what they say twice is
    there twice.
    """
    writer = midi_ld.Writer(resolution=resolution)
    track, notes = writer.track(0), {}
    for subject, predicate, value in np.asarray(triples).tolist():
        notes.setdefault(subject, ([], [], [], []))[predicate].append(value)
    for subject, (ticks, pitches, durations, velocities) in notes.items():
        on = writer.event(track, 2 * subject, "NoteOnEvent", channel=0)
        off = writer.event(track, 2 * subject + 1, "NoteOffEvent", channel=0)
        unit = resolution // 4
        for tick in ticks:
            _say(writer, on, tick=tick * unit)
            for duration in durations:
                _say(writer, off, tick=(tick + duration) * unit)
        for pitch in pitches:
            writer.note(on, pitch)
            writer.note(off, pitch)
        for velocity in velocities:
            _say(writer, on, velocity=velocity)
    return writer.graph


def _say(writer, event, **numbers):
    for key, value in numbers.items():
        writer.graph.add((event, writer.midi[key], writer.literal(int(value))))


def playable(triples: np.ndarray) -> bool:
    """Whether index tuples are, without any repair, RDF of the vocabulary, and MIDI that plays."""
    text = to_graph(triples).serialize(format="turtle")
    graph = midi_ld.read_graph(text)
    if midi_ld.violations(graph):
        return False
    try:
        content = midi_ld.midi_bytes(midi_ld.from_graph(graph))
        return len(midi_ld.notes(midi_ld.read_midi(content))) > 0
    except midi_ld.MidiError:
        return False


def midi_of(notes: np.ndarray, resolution: int = 480) -> Any:
    """The MIDI file of notes on the grid."""
    return midi_ld.from_graph(to_graph(triples(notes), resolution))


def moved(x: np.ndarray, semitones: np.ndarray | int) -> np.ndarray:
    """Index tuples `[b, m, 3]` of pieces, transposed."""
    x, pitches = x.copy(), x[..., 1] == PREDICATES.index("note")
    x[..., 2] += np.where(pitches, np.reshape(semitones, (-1, 1)), 0).astype("int32")
    return x


class Phrases:
    """Batches of pieces: x are index tuples `[b, 4 most, 3]`, −1 after the end; y is each's notes.

    Args:
        splits: {"train" | "valid" | "test": pieces}; those of more than `most` notes are left out.
        config: `most`, `batch`, `steps`, how many of each split at most, and by how many semitones
            pieces to train with are moved at most, `transpose`.
    """

    def __init__(self, splits, config):
        self.most, self.batch, self.steps = config["most"], config["batch"], config["steps"]
        self.transpose = config.get("transpose", 0)
        self.splits = {}
        for split, pieces in splits.items():
            kept = [piece for piece in pieces if len(piece) <= self.most]
            if split != "train":  # of whole tunes in a row, some of each
                kept = [kept[i] for i in np.random.default_rng(0).permutation(len(kept))]
                kept = kept[: config[split]]
            if not kept:
                raise DataError(f"Expected pieces of at most {self.most} notes in {split}, got 0")
            self.splits[split] = kept

    def batch_of(self, pieces: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        x = np.full((len(pieces), 4 * self.most, 3), -1, "int32")
        for row, notes in zip(x, pieces, strict=True):
            row[: 4 * len(notes)] = triples(notes)
        return x, np.array([len(notes) for notes in pieces], "float32")

    @cached_property
    def whole_train(self) -> tuple[np.ndarray, np.ndarray]:
        return self.batch_of(self.splits["train"])

    def train(self, seed: int, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng, (x, y) = np.random.default_rng([7, seed, epoch]), self.whole_train
        for _ in range(self.steps):
            chosen = rng.integers(len(x), size=self.batch)
            low, high = self.room[:, chosen]
            yield moved(x[chosen], rng.integers(low, high + 1)), y[chosen]

    @cached_property
    def room(self) -> np.ndarray:
        """How far each training piece may be moved down and up, `[2, b]`: to no pitch unheard."""
        pitches = [notes[:, 1] for notes in self.splits["train"]]
        lowest, highest = (np.array([f(p) for p in pitches]) for f in (np.min, np.max))
        low = np.maximum(-self.transpose, lowest.min() - lowest)
        return np.stack([low, np.minimum(self.transpose, highest.max() - highest)])

    @cached_property
    def moved_train(self) -> np.ndarray:
        """The training pieces in all places that `train` may move them to."""
        (x, _), (low, high) = self.whole_train, self.room
        steps = range(-self.transpose, self.transpose + 1)
        inside = [(low <= step) & (step <= high) for step in steps]
        return np.concatenate([moved(x[i], step) for i, step in zip(inside, steps, strict=True)])

    @cached_property
    def valid(self) -> tuple[np.ndarray, np.ndarray]:
        return self.batch_of(self.splits["valid"])

    @cached_property
    def test(self) -> tuple[np.ndarray, np.ndarray]:
        return self.batch_of(self.splits["test"])

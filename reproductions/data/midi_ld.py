"""MIDI files as knowledge graphs in the midi-ld vocabulary, and back.

The vocabulary is that of Meroño-Peñuela & Hoekstra, http://purl.org/midi-ld/midi#: a piece has
tracks, a track has events, an event has a tick and what belongs to its class. Names follow
midi2rdf, with three choices of ours. Ticks are counted from the piece's beginning, since a graph
has no order. Events of the same tick are in the order of the numbers at the end of their names. And
a note-on of velocity 0 is a NoteOffEvent, which is what it means.

Kept are notes, programs, tempo and time signatures. Other messages are left out.
"""

import io
import re
from collections import deque
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

MIDI = "http://purl.org/midi-ld/midi#"
NOTES = "http://purl.org/midi-ld/notes/"
PROGRAMS = "http://purl.org/midi-ld/programs/"
PIECES = "http://purl.org/midi-ld/piece/"
# class: the property of its own and the message's attribute, all of them numbers
META = {
    "SetTempoEvent": ("set_tempo", {"mpqn": "tempo"}),
    "TimeSignatureEvent": (
        "time_signature",
        {"numerator": "numerator", "denominator": "denominator"},
    ),
}


class MidiError(ValueError):
    """MIDI or RDF that is no music; the message says what is wrong, and where."""


class Note(NamedTuple):
    """A note of a file, in ticks."""

    track: int
    channel: int
    onset: int
    duration: int
    pitch: int
    velocity: int


def read_midi(source: Path | bytes) -> Any:
    """A `mido.MidiFile` from a path or from bytes."""
    import mido

    name = "the given bytes" if isinstance(source, bytes) else str(source)
    try:
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
        midi = mido.MidiFile(file=io.BytesIO(content))
    except Exception as error:  # mido names damage in a dozen ways
        raise MidiError(f"{name} is not a readable MIDI file: {error!r}") from error
    if midi.ticks_per_beat < 1 or midi.ticks_per_beat > 32767:
        raise MidiError(
            f"Expected ticks per quarter note in {name}, got a division of {midi.ticks_per_beat}"
        )
    return midi


def midi_bytes(midi: Any) -> bytes:
    """The file's content."""
    content = io.BytesIO()
    midi.save(file=content)
    return content.getvalue()


def read_graph(source: Path | str) -> Any:
    """An `rdflib.Graph` from a path, or from text in Turtle."""
    import rdflib

    text, name = source, "the given text"
    if isinstance(source, Path):
        text, name = source.read_text(), str(source)
    try:
        return rdflib.Graph().parse(data=text, format="turtle")
    except Exception as error:  # rdflib names damage in a dozen ways
        raise MidiError(f"{name} is not readable RDF in Turtle: {error}") from error


def notes(midi: Any) -> list[Note]:
    """All notes of a file, sorted by onset, track and pitch.

    Of overlapping notes of one pitch in one channel the first that began ends first.

    Raises:
        MidiError: Where a note never ends, has no length, or ends without having begun.
    """
    ended = []
    for number, track in enumerate(midi.tracks):
        now, open_notes = 0, {}
        for message in track:
            now += message.time
            if message.type not in ("note_on", "note_off"):
                continue
            key = message.channel, message.note
            where = f"pitch {message.note} in channel {message.channel} of track {number}"
            if message.type == "note_on" and message.velocity:
                open_notes.setdefault(key, deque()).append((now, message.velocity))
                continue
            if not open_notes.get(key):
                raise MidiError(f"{where} ends at tick {now}, but did not begin")
            onset, velocity = open_notes[key].popleft()
            if onset == now:
                raise MidiError(f"{where} has no length at tick {now}")
            ended.append(Note(number, key[0], onset, now - onset, key[1], velocity))
        for (channel, pitch), left in open_notes.items():
            if left:
                raise MidiError(
                    f"pitch {pitch} in channel {channel} of track {number} begins at tick "
                    f"{left[0][0]}, and never ends"
                )
    return sorted(ended, key=lambda note: (note.onset, note.track, note.pitch, note.duration))


class Writer:
    """A graph of one piece that grows event by event."""

    def __init__(self, name="piece", resolution=480, midi_format=1):
        import rdflib

        self.midi, self.graph = rdflib.Namespace(MIDI), rdflib.Graph()
        self.type, self.literal, self.name = rdflib.RDF.type, rdflib.Literal, rdflib.URIRef
        self.graph.bind("midi", self.midi)
        self.piece = self.name(PIECES + name)
        self.add(self.piece, "Piece", format=midi_format, resolution=resolution)

    def add(self, subject, kind, **numbers):
        """A node of a class of the vocabulary, with properties that are numbers."""
        self.graph.add((subject, self.type, self.midi[kind]))
        for key, value in numbers.items():
            self.graph.add((subject, self.midi[key], self.literal(int(value))))

    def track(self, number):
        track = self.name(f"{self.piece}/track{number:02d}")
        self.add(track, "Track")
        self.graph.add((self.piece, self.midi.hasTrack, track))
        return track

    def event(self, track, number, kind, **numbers):
        event = self.name(f"{track}/event{number:04d}")
        self.add(event, kind, **numbers)
        self.graph.add((track, self.midi.hasEvent, event))
        return event

    def note(self, event, pitch):
        note = self.name(f"{NOTES}{pitch}")
        self.add(note, "Note", pitch=pitch)
        self.graph.add((event, self.midi.note, note))


def to_graph(midi: Any, name: str = "piece") -> Any:
    """The graph of a `mido.MidiFile`."""
    writer = Writer(name, midi.ticks_per_beat, midi.type)
    classes = {message: (kind, names) for kind, (message, names) in META.items()}
    for number, messages in enumerate(midi.tracks):
        track, now = writer.track(number), 0
        for count, message in enumerate(messages):
            now += message.time
            if message.type in ("note_on", "note_off"):
                on = message.type == "note_on" and message.velocity > 0
                event = writer.event(
                    track,
                    count,
                    "NoteOnEvent" if on else "NoteOffEvent",
                    tick=now,
                    channel=message.channel,
                    velocity=message.velocity,
                )
                writer.note(event, message.note)
            elif message.type == "program_change":
                event = writer.event(
                    track, count, "ProgramChangeEvent", tick=now, channel=message.channel
                )
                program = writer.name(f"{PROGRAMS}{message.program}")
                writer.graph.add((program, writer.type, writer.midi.Program))
                writer.graph.add((event, writer.midi.program, program))
            elif message.type in classes:
                kind, names = classes[message.type]
                numbers = {key: getattr(message, attribute) for key, attribute in names.items()}
                writer.event(track, count, kind, tick=now, **numbers)
    return writer.graph


def from_graph(graph: Any) -> Any:
    """The `mido.MidiFile` of a graph of one piece.

    Raises:
        MidiError: Where a number is missing, is there twice or is out of range.
    """
    import mido
    import rdflib

    pieces = list(graph.subjects(rdflib.RDF.type, rdflib.URIRef(MIDI + "Piece")))
    if len(pieces) != 1:
        raise MidiError(f"Expected a graph of one midi:Piece, got {len(pieces)}")
    midi = mido.MidiFile(
        type=_number(graph, pieces[0], "format", 0, 2),
        ticks_per_beat=_number(graph, pieces[0], "resolution", 1, 32767),
    )
    tracks = sorted(graph.objects(pieces[0], rdflib.URIRef(MIDI + "hasTrack")), key=_place)
    if not tracks:
        raise MidiError(f"Expected {pieces[0]} to have a midi:hasTrack, got none")
    for track in tracks:
        events = graph.objects(track, rdflib.URIRef(MIDI + "hasEvent"))
        timed = sorted(
            ((_number(graph, event, "tick", 0), _place(event), event) for event in events),
            key=lambda entry: entry[:2],
        )
        now, messages = 0, mido.MidiTrack()
        for tick, _, event in timed:
            message = _message(graph, event)
            if message is not None:
                messages.append(message.copy(time=tick - now))
                now = tick
        midi.tracks.append(messages)
    return midi


def _message(graph, event):
    """The mido message of an event without its time; None for an event of another class."""
    import mido
    import rdflib

    kinds = {str(kind).removeprefix(MIDI) for kind in graph.objects(event, rdflib.RDF.type)}
    kinds &= {"NoteOnEvent", "NoteOffEvent", "ProgramChangeEvent", *META}
    if len(kinds) > 1:
        raise MidiError(f"Expected {event} to be of one class, got {', '.join(sorted(kinds))}")
    kind = next(iter(kinds), None)
    if kind is None:
        return None
    if kind in META:
        name, attributes = META[kind]
        least = {"SetTempoEvent": 1, "TimeSignatureEvent": 1}[kind]
        values = {a: _number(graph, event, key, least) for key, a in attributes.items()}
        try:
            return mido.MetaMessage(name, **values)
        except (TypeError, ValueError) as error:
            raise MidiError(f"{event} can't be a MIDI message: {error}") from error
    channel = _number(graph, event, "channel", 0, 15)
    if kind == "ProgramChangeEvent":
        program = re.search(r"(\d+)$", str(_one(graph, event, "program")))
        if not program or int(program[1]) > 127:
            raise MidiError(f"Expected {event} to have a program from 0 to 127")
        return mido.Message("program_change", channel=channel, program=int(program[1]))
    pitch = _number(graph, _one(graph, event, "note"), "pitch", 0, 127)
    on = kind == "NoteOnEvent"
    has_velocity = (event, rdflib.URIRef(MIDI + "velocity"), None) in graph
    velocity = _number(graph, event, "velocity", int(on), 127) if on or has_velocity else 0
    name = "note_on" if on else "note_off"
    return mido.Message(name, channel=channel, note=pitch, velocity=velocity)


def _one(graph, subject, key):
    """The one object of a property."""
    import rdflib

    objects = list(graph.objects(subject, rdflib.URIRef(MIDI + key)))
    if len(objects) != 1:
        raise MidiError(f"Expected {subject} to have one midi:{key}, got {len(objects)}")
    return objects[0]


def _number(graph, subject, key, least, most=2**28 - 1):
    value = getattr(_one(graph, subject, key), "value", None)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise MidiError(
            f"Expected midi:{key} of {subject} to be an integer from {least} to {most}, got "
            f"{value!r}"
        )
    return value


def _place(name):
    """Where a track or event stands among its like: the number its name ends in, then the name."""
    number = re.search(r"(\d+)$", str(name))
    return int(number[1]) if number else -1, str(name)


@cache
def _shapes():
    return read_graph(Path(__file__).with_name("midi_ld_shapes.ttl"))


def violations(graph: Any) -> list[str]:
    """What in a graph breaks the vocabulary's shapes, as texts; none where it conforms."""
    import rdflib
    from pyshacl import validate

    conforms, report, _ = validate(graph, shacl_graph=_shapes(), inference="none")
    if conforms:
        return []
    shacl = rdflib.Namespace("http://www.w3.org/ns/shacl#")
    return sorted(
        f"{report.value(result, shacl.focusNode)}: {report.value(result, shacl.resultMessage)}"
        for result in report.subjects(rdflib.RDF.type, shacl.ValidationResult)
    )

"""MIDI as midi-ld graphs and back: round trips, shapes, malformed files."""

import io

import mido
import pytest

from reproductions.data import midi_ld
from reproductions.data.midi_ld import MidiError

VOCABULARY = "@prefix m: <http://purl.org/midi-ld/midi#> . @prefix x: <urn:x#> .\n"


def on(note, velocity=80, time=0, channel=0):
    return mido.Message("note_on", note=note, velocity=velocity, time=time, channel=channel)


def off(note, time=0, channel=0, velocity=0):
    return mido.Message("note_off", note=note, velocity=velocity, time=time, channel=channel)


def file_of(*tracks, resolution=480, kind=1):
    midi = mido.MidiFile(type=kind, ticks_per_beat=resolution)
    midi.tracks += [mido.MidiTrack(messages) for messages in tracks]
    return midi


def there_and_back(midi):
    """Through Turtle and through the bytes of a MIDI file."""
    text = midi_ld.to_graph(midi).serialize(format="turtle")
    back = midi_ld.from_graph(midi_ld.read_graph(text))
    return midi_ld.read_midi(midi_ld.midi_bytes(back))


FILES = {
    "one": [on(60), off(60, 480)],
    "overlap": [on(60, 90), on(64, 70, 100), off(60, 200), off(64, 50)],
    "same_pitch": [on(60, 90), on(60, 50, 100), off(60, 100), off(60, 300)],
    "again_at_once": [on(60, 90), off(60, 100), on(60, 40), off(60, 100), on(60, 1), off(60, 1)],
    "velocity_0_ends": [on(60, 90), on(60, 0, 120)],
    "channels": [on(60, 90, 0, 0), on(60, 33, 10, 9), off(60, 10, 0), off(60, 10, 9)],
    "late": [on(127, 127, 10**6), off(127, 1, velocity=64)],
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("resolution, kind", [(480, 1), (96, 0), (32767, 1)])
def test_a_round_trip_keeps_every_note(name, resolution, kind):
    midi = file_of(FILES[name], resolution=resolution, kind=kind)
    back = there_and_back(midi)
    assert midi_ld.notes(back) == midi_ld.notes(midi)
    assert (back.ticks_per_beat, back.type) == (resolution, kind)
    assert midi_ld.violations(midi_ld.to_graph(midi)) == []


def test_a_round_trip_keeps_tracks_tempo_meter_and_programs():
    changes = [
        mido.MetaMessage("set_tempo", tempo=600_000),
        mido.MetaMessage("time_signature", numerator=6, denominator=8),
        mido.MetaMessage("set_tempo", tempo=300_000, time=480),
    ]
    program = mido.Message("program_change", program=40, channel=2)
    many = [m for pitch in range(30, 90) for m in (on(pitch, 64, 5, 2), off(pitch, 5, 2))]
    midi = file_of(changes, [program, *many], [on(50, 70, 240), off(50, 480)])
    back = there_and_back(midi)
    assert midi_ld.notes(back) == midi_ld.notes(midi)
    assert len(back.tracks) == 3 and back.length == pytest.approx(midi.length)
    kept = [m for track in back.tracks for m in track if not m.type.startswith("note")]
    expected = [m for track in midi.tracks for m in track if not m.type.startswith("note")]
    assert [m for m in kept if m.type != "end_of_track"] == expected
    assert midi_ld.violations(midi_ld.to_graph(midi)) == []


def test_notes_are_read_as_they_sound():
    found = midi_ld.notes(file_of(FILES["same_pitch"], FILES["late"]))
    assert found[0] == midi_ld.Note(0, 0, 0, 200, 60, 90)  # the first that began ends first
    assert found[1] == midi_ld.Note(0, 0, 100, 400, 60, 50)
    assert found[2] == midi_ld.Note(1, 0, 10**6, 1, 127, 127)


@pytest.mark.parametrize(
    "messages, message",
    [
        ([on(60)], "pitch 60 in channel 0 of track 0 begins at tick 0, and never ends"),
        ([off(61, 5)], "pitch 61 .* ends at tick 5, but did not begin"),
        ([on(60, time=7), off(60)], "has no length at tick 7"),
    ],
)
def test_notes_without_end_are_told(messages, message):
    with pytest.raises(MidiError, match=message):
        midi_ld.notes(file_of(messages))


def test_malformed_midi_is_told(tmp_path):
    whole = midi_ld.midi_bytes(file_of(FILES["overlap"]))
    path = tmp_path / "a.mid"
    for content in (b"", b"no midi", whole[:10], whole[:-5]):
        path.write_bytes(content)
        with pytest.raises(MidiError, match=r"a\.mid is not a readable MIDI file"):
            midi_ld.read_midi(path)
    with pytest.raises(MidiError, match="the given bytes is not a readable MIDI file"):
        midi_ld.read_midi(b"MThd")
    frames = whole[:12] + b"\xe7\x28" + whole[14:]  # ticks a video frame, not a quarter note
    with pytest.raises(MidiError, match="Expected ticks per quarter note"):
        midi_ld.read_midi(frames)
    with pytest.raises(MidiError, match="none.mid"):
        midi_ld.read_midi(tmp_path / "none.mid")


def test_malformed_rdf_is_told(tmp_path):
    path = tmp_path / "a.ttl"
    path.write_text("no turtle")
    with pytest.raises(MidiError, match=r"a\.ttl is not readable RDF in Turtle"):
        midi_ld.read_graph(path)
    with pytest.raises(MidiError, match="a graph of one midi:Piece, got 0"):
        midi_ld.from_graph(midi_ld.read_graph(VOCABULARY))


def damaged(old, new):
    """The graph of a small file, its Turtle changed."""
    text = midi_ld.to_graph(file_of(FILES["one"])).serialize(format="nt")
    assert old in text
    return midi_ld.read_graph(text.replace(old, new, 1))


MIDI, INTEGER = f"<{midi_ld.MIDI}", '"^^<http://www.w3.org/2001/XMLSchema#integer>'


@pytest.mark.parametrize(
    "old, new, message",
    [
        (f'{MIDI}velocity> "80', f'{MIDI}velocity> "128', "midi:velocity of .* from 1 to 127"),
        (f'{MIDI}velocity> "80', f'{MIDI}velocity> "0', "from 1 to 127, got 0"),
        (f'{MIDI}pitch> "60', f'{MIDI}pitch> "-1', "midi:pitch of .* from 0 to 127, got -1"),
        (f'{MIDI}tick> "480', f'{MIDI}tick> "-4', "midi:tick of .* got -4"),
        (f'{MIDI}tick> "480', f'{MIDI}tock> "480', "to have one midi:tick, got 0"),
        (f'{MIDI}resolution> "480{INTEGER}', f'{MIDI}resolution> "fast"', "got 'fast'"),
        (f'{MIDI}format> "1', f'{MIDI}format> "3', "midi:format of .* from 0 to 2, got 3"),
        (f"{MIDI}hasTrack>", f"{MIDI}track>", "to have a midi:hasTrack, got none"),
    ],
)
def test_a_graph_that_is_no_music_is_told(old, new, message):
    graph = damaged(old, new)
    assert midi_ld.violations(graph)
    with pytest.raises(MidiError, match=message):
        midi_ld.from_graph(graph)


def test_the_shapes_name_what_is_wrong():
    graph = midi_ld.read_graph(VOCABULARY + "x:a a m:Piece .")
    found = midi_ld.violations(graph)
    assert len(found) == 3 and all(text.startswith("urn:x#a: ") for text in found)
    writer = midi_ld.Writer()
    event = writer.event(writer.track(0), 0, "NoteOnEvent", tick=0, channel=0, velocity=1)
    assert any("midi:note" in text for text in midi_ld.violations(writer.graph))
    writer.note(event, 60)
    assert midi_ld.violations(writer.graph) == []
    writer.note(event, 61)  # one event, two notes
    assert any("midi:note" in text for text in midi_ld.violations(writer.graph))


def test_events_of_one_tick_keep_their_order_without_numbers_in_names():
    text = VOCABULARY + (
        "x:p a m:Piece ; m:format 0 ; m:resolution 96 ; m:hasTrack x:t . x:t a m:Track ;"
        "m:hasEvent x:a, x:b . x:a a m:NoteOnEvent ; m:tick 0 ; m:channel 0 ; m:velocity 9 ;"
        "m:note x:n . x:b a m:NoteOffEvent ; m:tick 96 ; m:channel 0 ; m:note x:n ."
        "x:n a m:Note ; m:pitch 60 ."
    )
    graph = midi_ld.read_graph(text)
    assert midi_ld.violations(graph) == []
    assert midi_ld.notes(midi_ld.from_graph(graph)) == [midi_ld.Note(0, 0, 0, 96, 60, 9)]


def test_bytes_are_those_of_a_file(tmp_path):
    content = midi_ld.midi_bytes(file_of(FILES["one"]))
    assert mido.MidiFile(file=io.BytesIO(content)).ticks_per_beat == 480

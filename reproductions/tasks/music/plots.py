"""Piano rolls and sound of the music task."""

import io

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

COLUMNS = 4


def piano_rolls(rows, path):
    """Pieces `{title: list of [n, 4]}` as bars in time and pitch, darker where louder."""
    figure = Figure(figsize=(2.6 * COLUMNS, 1.9 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), COLUMNS, squeeze=False)
    pitches = np.concatenate([piece[:, 1] for row in rows.values() for piece in row if len(piece)])
    low, high = np.percentile(pitches, [0, 100]) if len(pitches) else (60, 72)
    length = max(
        (piece[:, 0] + piece[:, 2]).max() for r in rows.values() for piece in r if len(piece)
    )
    for axes, (title, pieces) in zip(panels, rows.items(), strict=True):
        axes[0].set_ylabel(title)
        for panel, notes in zip(axes, pieces[:COLUMNS], strict=False):
            for tick, pitch, duration, velocity in notes.tolist():
                shade = 0.25 + 0.75 * min(velocity, 127) / 127
                panel.barh(pitch, duration, 0.9, tick, color="tab:blue", alpha=shade)
            panel.set(xlim=(0, length), ylim=(low - 1, high + 1))
            panel.tick_params(labelsize=6)
    figure.savefig(path, dpi=90)


def comparison(records, models, path):
    """How the models' samples do: validity, overlap and the classifier, a bar a model and data."""
    names = {"valid": "parse and play", "overlap": "overlap", "detectable": "told from real"}
    figure = Figure(figsize=(9, 3), layout="constrained")
    panels, sets = figure.subplots(1, len(names)), sorted({r["data"] for r in records})
    height = 0.8 / len(sets)
    for axes, (metric, title) in zip(panels, names.items(), strict=True):
        for i, data in enumerate(sets):
            for place, model in enumerate(models):
                runs = [r for r in records if (r["model"], r["data"]) == (model, data)]
                values = [r["metrics"]["test"].get(metric) for r in runs]
                values = [value for value in values if value is not None]
                if values:
                    at = place + (i - (len(sets) - 1) / 2) * height
                    axes.barh(at, np.mean(values), height, color=f"C{i}")
                    axes.plot(values, [at] * len(values), "k.", markersize=4)
        axes.set(title=title, xlim=(0, 1), yticks=range(len(models)))
        axes.set_yticklabels(models if axes.get_subplotspec().is_first_col() else ())
        axes.invert_yaxis()
    if len(sets) > 1:
        bars = [Patch(color=f"C{i}", label=data) for i, data in enumerate(sets)]
        figure.legend(handles=bars, loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=90)


def sound(midi_bytes, rate=8000):
    """A WAV file of the MIDI file, in sine tones by `pretty_midi`."""
    import pretty_midi
    from scipy.io import wavfile

    wave = pretty_midi.PrettyMIDI(io.BytesIO(midi_bytes)).synthesize(fs=rate)
    content = io.BytesIO()
    wavfile.write(content, rate, (wave / max(np.abs(wave).max(), 1e-9) * 32000).astype("int16"))
    return content.getvalue()

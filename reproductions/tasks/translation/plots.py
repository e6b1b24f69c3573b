"""Pictures of the translation task."""

from matplotlib.figure import Figure


def attention(weights, sentence, translation, path):
    """How much of each piece of a sentence is attended to `[t, s]` where a piece is written."""
    rows, columns = weights.shape
    figure = Figure(figsize=(1.6 + 0.24 * columns, 1.4 + 0.2 * rows), layout="constrained")
    axes = figure.subplots()
    axes.imshow(weights, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(columns), sentence, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(range(rows), translation, fontsize=8, parse_math=False)
    axes.xaxis.tick_top()
    axes.set_ylabel("translation")
    axes.set_xlabel("sentence; black: all of the attention")
    figure.savefig(path, dpi=90)

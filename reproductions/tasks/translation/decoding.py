"""Beam search over a batch: whatever makes the probabilities, and all sentences at once."""

import numpy as np


def length_penalty(length, alpha):
    """What a log-probability is divided by (Wu et al. 2016, equation 14)."""
    return ((5 + length) / 6) ** alpha


def beam_search(step, states, limits, beam, start, end, alpha=0.6):
    """The best sequence of each sample: its tokens without the end, and its score.

    At each step a sample's `beam` likeliest beginnings go on. Of the candidates, those that end and
    are among the `beam` likeliest are finished. A sample is done when as many are finished, or at
    its limit, where each beginning that is left has to end. The score of a sequence is its
    log-probability over `length_penalty`, its end counted. With a beam of 1 the search is greedy;
    with one as wide as there are sequences it tries all of them.

    Args:
        step: Function of the last tokens `[b, beam]` and of `states`. It gives the
            log-probabilities of the likeliest next tokens `[b, beam, m]`, from the highest, these
            tokens, the log-probabilities of an end `[b, beam]`, and the states after. m is twice
            the beam, or the number of all tokens.
        states: List of arrays `[b, beam, ...]`.
        limits: Integers `[b]`, tokens at most, the end counted.
        beam: Integer.
        start: Integer, the token before the first.
        end: Integer, the token that ends a sequence.
        alpha: Float, 0 to compare log-probabilities themselves.
    """
    count, longest = len(limits), int(np.max(limits))
    samples = np.arange(count)[:, None]
    tokens = np.full((count, beam), start, "int32")
    sequences = np.zeros((count, beam, longest), "int32")
    totals = np.full((count, beam), -np.inf)
    totals[:, 0] = 0  # one beginning, that all share
    finished = np.zeros(count, "int64")
    best, best_scores = [[] for _ in limits], np.full(count, -np.inf)
    for t in range(longest):
        steps, numbers, ends, states = step(tokens, states)
        done = (finished >= beam) | (limits <= t)
        last = limits == t + 1
        # Candidates of all beginnings, the 2 · beam best first: at most half of them end.
        candidates = (totals[..., None] + steps).reshape(count, -1)
        order = np.argsort(-candidates, axis=1, kind="stable")[:, : 2 * beam]
        values, parents = candidates[samples, order], order // steps.shape[-1]
        numbers = numbers.reshape(count, -1)[samples, order]
        ending = numbers == end
        ended = np.where(ending, values, -np.inf)[:, :beam]
        origins = np.where(last[:, None], np.arange(beam), parents[:, :beam])
        ended = np.where(last[:, None], totals + ends, ended)
        ended[done] = -np.inf
        ended_scores = ended / length_penalty(t + 1, alpha)
        winners = ended_scores.argmax(axis=1)
        for i in np.flatnonzero(ended_scores.max(axis=1) > best_scores):
            best_scores[i] = ended_scores[i, winners[i]]
            best[i] = sequences[i, origins[i, winners[i]], :t].tolist()
        finished += np.isfinite(ended).sum(axis=1)
        if np.all((finished >= beam) | (limits <= t + 1)):
            break
        kept = np.argsort(ending, axis=1, kind="stable")[:, :beam]
        totals, parents, tokens = (a[samples, kept] for a in (values, parents, numbers))
        sequences = sequences[samples, parents]
        sequences[..., t] = tokens
        states = [state[samples, parents] for state in states]
    return best, best_scores

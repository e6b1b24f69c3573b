"""Subwords: pieces of words that two languages share, by SentencePiece."""

import io
from collections.abc import Iterable, Sequence

PADDING, START, END, UNKNOWN = range(4)


class Subwords:
    """Byte-pair encoding, learned from sentences (Sennrich et al. 2016).

    The numbers 0 to 3 stand for padding, a sentence's start and end, and unknown characters.

    Args:
        sentences: Texts to learn from.
        size: Integer, pieces at most, with these four and all characters.
    """

    def __init__(self, sentences: Iterable[str], size: int):
        import sentencepiece

        sentencepiece.set_min_log_level(2)  # it is talkative
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            character_coverage=1.0,
            pad_id=PADDING,
            bos_id=START,
            eos_id=END,
            unk_id=UNKNOWN,
            minloglevel=2,
        )
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())

    @property
    def size(self) -> int:
        return self.processor.get_piece_size()

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Numbers of the pieces of each sentence, without its start and end."""
        return self.processor.encode(list(sentences), out_type=int)

    def decode(self, numbers: Sequence[Sequence[int]]) -> list[str]:
        """The sentences whose pieces these are, with blanks as in the text that was encoded."""
        return self.processor.decode([[int(n) for n in row] for row in numbers])

    def pieces(self, numbers: Sequence[int]) -> list[str]:
        """The pieces' texts, a blank before a word as ▁."""
        return [self.processor.id_to_piece(int(n)) for n in numbers]

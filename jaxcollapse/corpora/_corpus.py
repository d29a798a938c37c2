"""A corpus: how often the tokens of a text occur, alone and in pairs, and how much of the text the table holds.

    order 1   N_v    p*(v) = N_v / N
    order 2   N_cv   p*(v | c) = N_cv / N_c: token v after token c, with contexts π_c = N_c / N

The text is read as a circle, its first token after its last: n tokens make n pairs, every token is followed by
something, and π is the stationary law of the table's own Markov chain.
"""

import dataclasses
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from jaxcollapse._target import from_counts
from jaxcollapse.families.tabular import Categorical

UNKNOWN = "<unk>"

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Corpus:
    """Counts of a text and what is known about it; print it for the report, `model()` is the law to simulate.

    tokens        the string of each token id, most frequent first; an unknown token, if there is one, is the last
    counts        `v`, or `c v` (row: context, column: next token)
    total, types  tokens in the whole text, and how many different ones
    entropy, conditional_entropy
                  H1 and H(2|1) of the whole text, all types, in bits a token (plug-in estimates, so H(2|1) of a short
                  text is too low); `metrics.entropy(corpus.model().probs)` is that of the table, in nats
    """

    tokens: tuple[str, ...]
    counts: Int[np.ndarray, "*c v"]
    total: int
    types: int
    entropy: float
    conditional_entropy: float

    @property
    def coverage(self) -> float:
        """Share of the text's tokens (order 2: of its pairs) that are in the vocabulary, the unknown token left out."""
        known = len(self.tokens) - (self.tokens[-1] == UNKNOWN)
        return float(self.counts[(slice(known),) * self.counts.ndim].sum() / self.total)

    def model(self) -> Categorical:
        """The table as a target, `from_counts(counts)`."""
        return from_counts(self.counts)

    def __repr__(self) -> str:
        what = "tokens" if self.counts.ndim == 1 else "pairs"
        unknown = ", the last for all others" if self.tokens[-1] == UNKNOWN else ""
        return (
            f"Corpus of {self.total:,} tokens, {self.types:,} types, H1 {self.entropy:.2f} bits, "
            f"H(2|1) {self.conditional_entropy:.2f} bits\n"
            f"table {' × '.join(map(str, self.counts.shape))}{unknown}: {self.coverage:.1%} of the {what} covered"
        )


def words(text: str) -> list[str]:
    """Lower-case runs of letters and digits; an apostrophe inside a word belongs to it (o'er), any other does not."""
    return _WORD.findall(unicodedata.normalize("NFC", text).lower().replace("’", "'"))


def spelled(words: Sequence[str]) -> list[str]:
    """Words as letters: joined by one space, apostrophes taken out, anything but a–z read as a space."""
    return list(re.sub(r"[^a-z]+", " ", " ".join(words).replace("'", "")))


def rank(units: Sequence[str] | Sequence[int]) -> tuple[list, Int[np.ndarray, " n"]]:
    """The types by falling frequency, ties in their own order, and the text as ranks 0, 1, … in that list."""
    counter = Counter(units)
    types = sorted(counter, key=lambda unit: (-counter[unit], unit))
    index = {unit: i for i, unit in enumerate(types)}
    return types, np.fromiter((index[unit] for unit in units), np.int64, len(units))


def pairs(ids: Int[np.ndarray, " n"], width: int) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """The pairs that occur, as c · width + v, and their counts; circular."""
    return np.unique(ids * width + np.roll(ids, -1), return_counts=True)


def entropies(ids: Int[np.ndarray, " n"]) -> tuple[float, float]:
    """H1 and H(2|1) in bits."""
    single = _bits(np.bincount(ids))
    return single, _bits(pairs(ids, int(ids.max()) + 1)[1]) - single


def table(ids: Int[np.ndarray, " n"], width: int, order: int) -> Int[np.ndarray, "*c v"]:
    """Counts of the ids (order 1) or of their pairs (order 2)."""
    if order == 1:
        return np.bincount(ids, minlength=width)
    counts = np.zeros(width * width, np.int64)
    where, times = pairs(ids, width)
    counts[where] = times
    return counts.reshape(width, width)


def _bits(counts: Int[np.ndarray, " m"]) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log2(p)).sum())

"""Real text as the target: shipped count tables, and any text of your own.

    p_star = corpora.shakespeare(vocab=256)                  words, most frequent first
    p_star = corpora.shakespeare(vocab=1000, order=2)        the next word given the previous one
    p_star = from_text("novel.txt", vocab=1000)              your text; the last token stands for all other words
    print(corpora.read("novel.txt", vocab=1000))             what it covers: tokens, types, entropies, coverage
    ids = corpora.text("shakespeare")                        the text itself, for models of sequences: jc.Text(ids, 64)
    images, held_out = corpora.digits()                      8 × 8 grey images: the law that draws them, and a test set

Shipped tables leave the unknown token out and renormalise: it would hold a fifth of the mass and, as one token, none of
its diversity. `from_text` keeps it. `experiments/build_corpora.py` rebuilds the tables and says what is counted;
SOURCES.json, beside them, holds origin, licence, coverage, entropies and checksums. Nothing is downloaded.
"""

import bz2
import importlib.resources
import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxcollapse.corpora._corpus import UNKNOWN, Corpus, entropies, rank, spelled, table, words
from jaxcollapse.corpora._digits import digits
from jaxcollapse.families.tabular import Categorical

__all__ = ["UNKNOWN", "Corpus", "digits", "from_text", "king_james", "letters"]
__all__ += ["load", "read", "shakespeare", "sources", "text"]

# An uncapped bigram table above this many types would take gigabytes: the cap has to be asked for.
_LARGEST_UNCAPPED = 4096


def shakespeare(vocab: int = 1000, order: int = 1) -> Categorical:
    """The `vocab` (1 to 1000) most frequent words of 38 Shakespeare plays; with order 2, given the previous word."""
    return load("shakespeare", vocab, order).model()


def king_james(vocab: int = 256, order: int = 1) -> Categorical:
    """The `vocab` (1 to 1000) most frequent words of the King James Bible; with order 2, given the previous word."""
    return load("king_james", vocab, order).model()


def letters(order: int = 2) -> Categorical:
    """Shakespeare's letters, a to z and the space between words: 27 tokens; with order 2, given the previous one."""
    return load("letters", None, order).model()


def load(name: str, vocab: int | None = None, order: int = 1) -> Corpus:
    """A shipped corpus with its tokens, counts, coverage and entropies.

    name is "shakespeare", "king_james" or "letters"; vocab keeps the most frequent tokens (None: all shipped) and
    the pairs of which both are kept; at 256 and 1000 every word has a next one, at other sizes `model()` refuses a
    context that has none. Errors: `ValueError` for a name, vocab or order that is not shipped.
    """
    known = sources()
    if name not in known:
        raise ValueError(f"name: got {name!r}, expected one of {', '.join(known)}; try corpora.read for your own text")
    _check_order(order)
    with importlib.resources.files(__name__).joinpath(f"{name}.npz").open("rb") as file, np.load(file) as data:
        tokens, unigram, gaps, times = (data[key] for key in ("tokens", "unigram", "gaps", "times"))
    vocab = len(tokens) if vocab is None else vocab
    if isinstance(vocab, bool) or not isinstance(vocab, int | np.integer) or not 1 <= vocab <= len(tokens):
        raise ValueError(
            f"vocab: got {vocab!r}, expected 1 to {len(tokens)}, the size of the shipped {name} table; "
            "try jc.from_text for a larger vocabulary"
        )
    counts = unigram.astype(np.int64) if order == 1 else _dense(gaps, times, len(tokens))[:vocab]
    about = known[name]
    measured = about["tokens"], about["types"], about["entropy_bits"], about["conditional_entropy_bits"]
    return Corpus(tuple(map(str, tokens[:vocab])), counts[..., :vocab], *measured)


def sources() -> dict[str, Any]:
    """What SOURCES.json records of each shipped corpus."""
    return json.loads(importlib.resources.files(__name__).joinpath("SOURCES.json").read_text(encoding="utf-8"))


def text(name: str = "shakespeare", tokens: str = "byte") -> UInt8[np.ndarray, " n"]:
    """A shipped text of about 1 MB as token ids, one after another: what `jc.Text(ids, length)` takes.

    name     "shakespeare", what is spoken in ten tragedies; "king_james", the beginning of the King James Bible
    tokens   "byte": printable ASCII, ids 32 to 126, `bytes(ids).decode()` reads it; one space for all white space;
             "letter": a to z and the space between words, 27 tokens with the ids of `letters`: an id is a place in
             `load("letters").tokens`, so that text and table speak of the same tokens

    SOURCES.json holds origin, licence and checksum. Errors: `ValueError` for a name or tokens that are not shipped.
    """
    shipped = [key for key, about in sources().items() if "shipped_text" in about]
    if name not in shipped:
        raise ValueError(f"name: got {name!r}, expected one of {', '.join(shipped)}; try your own jc.Text(ids, length)")
    if tokens not in ("byte", "letter"):
        raise ValueError(f"tokens: got {tokens!r}, expected 'byte' or 'letter'")
    raw = bz2.decompress(importlib.resources.files(__name__).joinpath(f"{name}.txt.bz2").read_bytes())
    if tokens == "byte":
        return np.frombuffer(raw, np.uint8)
    index = {letter: i for i, letter in enumerate(load("letters").tokens)}
    return np.array([index[letter] for letter in spelled(words(raw.decode("ascii")))], np.uint8)


def from_text(
    path: str | os.PathLike, *, tokens: str = "word", vocab: int | None = None, order: int = 1
) -> Categorical:
    """The law of the next token in a text file: `read(path, ...).model()`, which see for the arguments and errors.

    Its report (coverage, types, entropies) goes to the log `jaxcollapse` at level INFO; print `corpora.read(path, ...)`
    to see it, with the token strings.
    """
    corpus = read(path, tokens=tokens, vocab=vocab, order=order)
    logging.getLogger("jaxcollapse").info("%s: %r", path, corpus)
    return corpus.model()


def read(path: str | os.PathLike, *, tokens: str = "word", vocab: int | None = None, order: int = 1) -> Corpus:
    """Counts the tokens of a text file.

    tokens   "word": lower-case runs of letters and digits, apostrophes inside kept, from UTF-8; "byte": any file
    vocab    at most so many tokens. The last one is then the unknown token, which stands for all types after the
             vocab − 1 most frequent; None, or as many as there are types: every type, and no unknown token
    order    1: `v` counts of tokens; 2: `v v` counts of a token (column) after another (row); the text is a circle

    Errors: `FileNotFoundError`; `ValueError` for a text that is empty or not UTF-8 (with the byte offset), too short
    for its order, a vocab below 1, or a bigram table of more than 4096 types without a vocab.
    """
    _check_order(order)
    if vocab is not None and (isinstance(vocab, bool) or not isinstance(vocab, int | np.integer) or vocab < 1):
        raise ValueError(f"vocab: got {vocab!r}, expected a whole number of tokens, at least 1; try vocab=1000")
    units = _units(Path(path), tokens)
    if len(units) < order:
        expected = "some text" if order == 1 else "at least 2 tokens for order=2"
        raise ValueError(f"path: got {len(units)} {tokens} tokens in {path}, expected {expected}")
    types, ids = rank(units)
    if order == 2 and vocab is None and len(types) > _LARGEST_UNCAPPED:
        raise ValueError(f"vocab: got None for {len(types)} types, expected a cap on the bigram table; try vocab=1000")
    names = [unit if isinstance(unit, str) else _byte_name(unit) for unit in types]
    if vocab is not None and vocab < len(types):
        names = [*names[: vocab - 1], UNKNOWN]
    counts = table(np.minimum(ids, len(names) - 1), len(names), order)
    return Corpus(tuple(names), counts, len(ids), len(types), *entropies(ids))


def _units(path: Path, tokens: str) -> list[str] | list[int]:
    if tokens not in ("word", "byte"):
        raise ValueError(f"tokens: got {tokens!r}, expected 'word' or 'byte'")
    if not path.is_file():
        raise FileNotFoundError(f"path: got {path}, expected a text file that exists")
    raw = path.read_bytes()
    if tokens == "byte":
        return list(raw)
    try:
        return words(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"path: got byte 0x{raw[error.start]:02x} at offset {error.start} of {path}, expected UTF-8; "
            "try tokens='byte', or convert the file"
        ) from error


def _byte_name(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 else f"0x{byte:02x}"


def _check_order(order: int) -> None:
    if order not in (1, 2):
        raise ValueError(f"order: got {order!r}, expected 1 (tokens) or 2 (the next token given the previous one)")


def _dense(gaps: np.ndarray, times: np.ndarray, width: int) -> np.ndarray:
    """The stored pairs, c · width + v as steps from one to the next, as a square table."""
    counts = np.zeros(width * width, np.int64)
    counts[np.cumsum(gaps, dtype=np.int64)] = times
    return counts.reshape(width, width)

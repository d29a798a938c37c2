"""The rows of the reproduction ledger: who claims what, the published value, and which experiment answers.

Published values are typed in, with their source; ours and exact ones never. `published` is only shown, as it speaks of
a limit or an order. `tested` is compared with ours, to within the digits that were published; `above` and `below` are
claims that ours is more, or less, by more than chance explains. What theory refutes stands as it is said.
"""

import math
from typing import NamedTuple

from experiments.ledger import estimates as by
from experiments.ledger import neural
from experiments.ledger.estimates import Measure


class Claim(NamedTuple):
    """One row before anything is run; `note` says why it is refuted, or why ours differs."""

    source: str
    claim: str
    experiment: str
    measure: Measure
    published: str = ""
    tested: float = math.nan
    within: float = 0.0
    above: float = -math.inf
    below: float = math.inf
    note: str = ""


MIXTURE = "Bakshi and Chakraborty, arXiv 2602.10531, abstract"
PUBLIC = "popular claim"
NATURE = "Shumailov et al., Nature 631:755 (2024)"
GERSTGRASSER = "Gerstgrasser et al., arXiv 2404.01413"
DEY = "Dey and Donoho, arXiv 2410.22812"
KAZDAN = "Kazdan et al., arXiv 2410.16713"
HE = "He, Xu and Cheng, arXiv 2502.18049"
SURESH = "Suresh et al., arXiv 2412.17646"
KANABAR = "Kanabar and Gastpar, arXiv 2501.19273"
HERE = "derived for this package"
EPOCH = "Villalobos et al., arXiv 2211.04325"
MARCHI = "Marchi et al., arXiv 2404.02325"
WANG = "Wang et al., arXiv 2506.15690"
KHANDELWAL = "Khandelwal et al., arXiv 1911.00172"
HOFFMANN = "Hoffmann et al., arXiv 2203.15556"
REFIT = "Besiroglu et al., arXiv 2404.10102"

TENTH = "A tenth keeps a loop from collapse; r goes to 1/(1 + (n − 1) α (2 − α)) if fresh, near 5.9/n if preserved"
VARIANCE = "E σ² = 1 − r_t (maximum likelihood): ασ² counts the real draws and forgets that the others vary as well"

CLAIMS = (
    # ── the abstract of the mixture paper, sentence by sentence ──
    Claim(MIXTURE, "Synthetic data alone degrade: table, n = 1000, risk of generation 100 over generation 0",
          "accumulate_vs_replace", by.inflation("table", "replace", 1000), above=1),
    Claim(MIXTURE, "… and so on real text: Shakespeare's word pairs, n = 10⁴, generation 50 over generation 0",
          "real_text", by.bigrams("risk", 0, start=True), above=1),
    Claim(MIXTURE, "Improvement with some real data: α_t = 0.1 t^−½, n_t = 32 n_0 t^¼; r_40 over r_0",
          "improvement", by.improved(32.0, 40), below=1),
    Claim(MIXTURE, "… but not at once with equal n: α_1 = 0.1, n_1 = n_0; r_1 over r_0",
          "improvement", by.improved(1.0, 1), above=1),
    Claim(MIXTURE, "Weight and sample size decide: R_1 < R_0 iff n_1 > 1 + (n_0 − 1)/(α_1 (2 − α_1)); cells that "
          "contradict, of those with |R_1 − R_0| > 4 s.e.", "improvement", by.contradictions, tested=0),
    Claim(MIXTURE, "A decaying weight avoids collapse: a = b = ½, n_0 = 20, r_300",
          "phase_horizons", by.check_point(0.5, 0.5), "→ 1/(1 + 2 n_0 a_0) = 0.0476", below=1),
    Claim(MIXTURE, "… and recovers p* if n_t grows faster: a = ½, b = 1, r_300; r_0 = 0.05",
          "phase_horizons", by.check_point(0.5, 1.0), "→ 0", below=0.05),
    Claim(MIXTURE, "… as t^−(b − a): local exponent over t = 152 to 1000",
          "strategies", by.slope, "→ b − a = 0.5"),
    Claim(MIXTURE, "… but not for any n_t: a = ½, b = 0, r_300; r_0 = 0.05",
          "phase_horizons", by.check_point(0.5, 0.0), "→ 1", above=0.05),
    Claim(MIXTURE, "Boundary of collapse on real text, T = 300: the growth b with r_T = ½ at a = ¾",
          "phase_boundary", by.boundary(0.75), "near a − ln(2 n_0 a_0)/ln T = 0.225"),
    Claim(MIXTURE, "… share of all slices whose 95 % interval holds the exact boundary",
          "phase_boundary", by.coverage, "0.95"),
    Claim(MIXTURE, "Aggregation against filtration, latest batch: risk of the real draws alone over that of all draws",
          "strategies", by.strategy("E", over="A"), "→ 2 for 0 < a < 1", above=1),
    Claim(MIXTURE, "… pooled over generations: risk of all draws over that of the real ones alone",
          "strategies", by.strategy("B", over="F"), "→ ∞", above=1),
    Claim(MIXTURE, "Other classes of models: normal law, α_t = t^−½/2, n_t = 100 t, n E μ² at t = 60 (1 at the start)",
          "real_share", by.share("mean", "decaying"), "→ 0", below=1),
    Claim(MIXTURE, "… linear regression, the same; risk over generation 0's",
          "real_share", by.share("line", "decaying"), "→ 0", below=1),
    Claim(MIXTURE, "… Shakespeare's word pairs, α = 0.1, n = 10⁴: risk at t = 50, a plateau",
          "real_text", by.bigrams("risk", 2), below=1),
    # ── what is said in public, and is not so ──
    Claim(PUBLIC, "Collapse is inevitable, whatever the architecture: table, α = 0.1, n = 100, n r at t = 60",
          "real_share", by.share("table", "10 % fresh"), "100 (r = 1)", tested=100, note=TENTH),
    Claim(PUBLIC, "… normal law, a share of real data that decays as t^−½: E σ² at t = 60",
          "real_share", by.share("variance", "decaying"), tested=0,
          note="E σ² = 1 − r_t, and r_t → 0 where n_t grows faster than α_t falls"),
    Claim(PUBLIC, "… normal law, no real data, all data accumulated, n = 10: E σ² after 200 fits",
          "gaussian_collapse", by.normal("sigma2_accumulate", 10.0, 200), tested=0,
          note="Π (1 − 1/(n j²)) → sin(π/√n)/(π/√n) = 0.843: data that are kept bound the loss"),
    Claim(PUBLIC, "The variance of a loop with real share α is α σ²: normal law, α = 0.1, n = 100",
          "real_share", by.share("variance", "10 % fresh"), tested=0.1, note=VARIANCE),
    Claim(PUBLIC, "A tenth of real data restores accuracy: originals kept, n = 100, risk over generation 0's",
          "real_share", by.share("table", "10 % preserved"), tested=1, note=TENTH),
    Claim(PUBLIC, "… a tenth fresh in every generation",
          "real_share", by.share("table", "10 % fresh"), tested=1, note=TENTH),
    Claim(PUBLIC, "… linear regression, a tenth fresh", "real_share", by.share("line", "10 % fresh"), tested=1,
          note="random designs: a little above the table's factor"),
    Claim(PUBLIC, "… Shakespeare's word pairs, originals kept, n = 10⁴, t = 50", "real_text",
          by.bigrams("risk", 1, start=True), tested=1, note="a mean over contexts, of which many are rare"),
    # ── papers ──
    Claim(NATURE, "A normal law without real data moves away as (3/2) k/n: E W2² after k = n = 100 fits",
          "gaussian_collapse", by.normal("w2_unbiased", 100.0, 100), "1.5, to leading order"),
    Claim(NATURE, "… and its variance vanishes, maximum likelihood, n = 100, 100 fits",
          "gaussian_collapse", by.normal("sigma2_likelihood", 100.0, 100), "→ 0"),
    Claim(NATURE, "Early collapse loses the tail: share of Shakespeare that cannot be written, 0 % real, t = 50 over 0",
          "real_text", by.bigrams("missing", 0, start=True), above=1),
    Claim(NATURE, "… a tenth of the originals holds it: risk at t = 50",
          "real_text", by.bigrams("risk", 1), "little is lost", below=1),
    Claim(NATURE, "Three errors, finite n, too few parameters, stopped early: the risk is the sum of their terms",
          "three_errors", by.errors((1, 1, 1))),
    Claim(NATURE, "… finite n alone: dearer, as tied rows pool draws", "three_errors", by.errors((1, 0, 0))),
    Claim(GERSTGRASSER, "Regression on replaced labels: error grows as t + 1, here t = 100",
          "accumulate_vs_replace", by.inflation("regression", "replace", 1000), "101"),
    Claim(GERSTGRASSER, "… accumulated, the same X each round: Σ 1/i² up to t + 1",
          "accumulate_vs_replace", by.inflation("regression", "accumulate, same X", 1000), "≤ π²/6 = 1.6449"),
    Claim(DEY, "Accumulated data: error stops at π²/6 times the first, here table, n = 1000, t = 100",
          "accumulate_vs_replace", by.inflation("table", "accumulate", 1000), "→ 1.6449"),
    Claim(DEY, "… accumulated, then n of them drawn: π²/2 − 2 (limit derived for this package)",
          "accumulate_vs_replace", by.inflation("table", "accumulate-subsample", 1000), "→ 2.9348"),
    Claim(KAZDAN, "Accumulated data: the variance of a normal law tends to sin(π/√n)/(π/√n), n = 10, 200 fits",
          "gaussian_collapse", by.normal("sigma2_accumulate", 10.0, 200), "→ 0.8434"),
    Claim(HE, "Best weight of fresh real data at k = n_r/n_s = 1: 1/golden ratio; n_s = 100, cubic through nine cells",
          "golden_ratio", by.best_weight(1), "→ 0.6180"),
    Claim(HE, "… at k = ¼", "golden_ratio", by.best_weight(0), "→ 0.3904"),
    Claim(HE, "… at k = 4", "golden_ratio", by.best_weight(2), "→ 0.8284"),
    Claim(HE, "… and the least n_r r is w* itself: k = 1, at w = 0.6", "golden_ratio", by.least_risk, "→ 0.6180"),
    Claim(SURESH, "A normal law loses its tails: P(σ > 0.1), n = 10, k = 100, below e^(−k/(4n − 1))/0.1",
          "gaussian_collapse", by.normal("alive_unbiased", 10.0, 100), below=math.exp(-100 / 39) / 0.1),
    Claim(SURESH, "A loop without real data loses its rare tokens: distinct ones at t = 200 of 1023, Zipf, n = 500",
          "rare_tokens", by.rare("distinct", 0.0)),
    Claim(SURESH, "… with α = 0.1: as many as f(α) n real draws would leave", "rare_tokens", by.rare("distinct", 0.1)),
    Claim(HERE, "Good and Turing's estimate, hapaxes/n, misses what a loop has lost: over the missing mass, α = 0.1",
          "rare_tokens", by.good_turing, "1 for real draws", below=1),
    Claim(KANABAR, "Known α_t, debiased and pooled: r_1000 at a = ½, b = 1", "strategies", by.strategy("D")),
    Claim(KANABAR, "Known labels, real draws pooled: the same", "strategies", by.strategy("F")),
    Claim(KANABAR, "… the gap between the two", "strategies", by.strategy("D", over="F"), "→ ∞", above=1),
    Claim(MARCHI, "Below T = 1 − α one token takes over: K = 4, α = 0.2, T = 0.75, from p*",
          "temperature", by.dominated(4, 0.75, 0), "1/K would be p*", above=0.25),
    Claim(HERE, "… K = 16, T = 0.85 > 1 − α: domination lasts where it is, the truth too (bistable)",
          "temperature", by.dominated(16, 0.85, 1), above=1 / 16),
    Claim(WANG, "Nodes that hear all others drift more slowly: risk in the complete graph of 8 over that alone, "
          "t = 120", "network", by.node("complete", over="alone"), below=1),
    Claim(WANG, "… the risk in the complete graph", "network", by.node("complete")),
    Claim(HERE, "Collapse path by path, a = 1: changes of the dominant one of two tokens up to t = 500",
          "phase_paths", by.paths("pair", 1.0), "~ ½ Σ α_t"),
    Claim(HERE, "… a = 1: departures from a single token, less their chances", "phase_paths", by.paths("excess", 1.0)),
    Claim(HERE, "… a = 3/2: hardly any changes", "phase_paths", by.paths("pair", 1.5)),
    Claim(HERE, "Exponential schedules: n_t = 100·1.2^t, α = 0.1 recovers; r_60; r_0 = 0.01",
          "phase_schedules", by.exponential(1.0, 1.2), "→ 0 as 1.2^−t", below=0.01),
    Claim(HERE, "… the same with α_t = 0.1·0.9^t freezes; r_60", "phase_schedules", by.exponential(0.9, 1.2)),
    Claim(EPOCH, "Human text is exhausted in 2028: median over the published intervals",
          "data_exhaustion", by.year(1), tested=2028, within=0.5),
    Claim(EPOCH, "… a year earlier if over-trained five times", "data_exhaustion", by.year(5), tested=2027, within=0.5),
    Claim(EPOCH, "… in 2025 if over-trained a hundred times", "data_exhaustion", by.year(100), "by 2025",
          tested=2025, within=0.5),
    Claim(EPOCH, "… by 2032 (upper end of 80 %)", "data_exhaustion", by.year(1, 3), tested=2032, within=0.5,
          note="ours propagates the published stock and growth alone; the source's model of demand is not reproduced"),
    Claim(HERE, "Text kept, 300·10¹² tokens + 5 % a year: no collapse, n_0 r in 2040 below 1.5 n_0/S of 2024",
          "data_exhaustion", by.scenario("kept"), below=0.05),
    Claim(HERE, "… text discarded, as much written anew (a counterfactual): frozen",
          "data_exhaustion", by.scenario("discarded")),
    Claim(HOFFMANN, "The rounded law wants the D/N = 20 of Chinchilla at 5.76·10²³ operations",
          "scaling_laws", by.tokens_a_parameter("rounded"), tested=20, within=0.5,
          note="the constants were rounded too far, as Besiroglu et al. found; scaling_laws uses the refit"),
    Claim(REFIT, "The refit agrees with Chinchilla as trained: loss at D/N = 20 over the "
          "least, nats", "scaling_laws", by.excess_loss("refit"), "0, to 0.005", tested=0, within=0.005),
    Claim(HERE, "A model: at α = 0.1 the best D/N is multiplied by f^(−2b/(a + b))",
          "scaling_laws", by.tokens_a_parameter("refit", 0.1)),
    Claim("Hutter, arXiv 2102.04074", "Missing mass falls as n^−c, c = 1 − 1/β = ½, real text alone",
          "missing_mass", by.lost_exponent(0), "→ 0.5"),
    Claim(HERE, "… the same exponent with α = 1/16", "missing_mass", by.lost_exponent(2), "→ 0.5"),
    Claim(HERE, "… at a price: E(α)/E(1), α = 1/16", "missing_mass", by.lost_ratio(2), "→ f^−c = 1.853"),
    # ── learners that are trained by gradient descent ──
    Claim(MIXTURE, "Learners by gradient descent follow the recursion: softmax, n = 10⁴, α = 0.19, r_50",
          "neural_phase_map", neural.softmax("scratch", -1, 6)),
    Claim(HERE, "… but lose less if stopped early: n = 24, α = 0, from scratch, r_50 over a table's",
          "neural_phase_map", neural.softmax("scratch", 1, 0, over_table=True), below=1),
    Claim(NATURE, "Three errors of a softmax, by gradient descent: the risk is the sum of their terms",
          "optimisation_error", by.errors((1, 1, 1))),
    Claim(DEY, "Logistic regression, accumulated data: error of β at t = 50 over the first, n = 10⁵",
          "logistic", neural.logistic("accumulate"), "→ 1.6449"),
    Claim(DEY, "… subsampled", "logistic", neural.logistic("subsample"), "→ 2.9348"),
    Claim(DEY, "… replaced: as t + 1", "logistic", neural.logistic("replace"), "51"),
    Claim(HERE, "Fitting probabilities, not samples: table, n = 100, α = 0.001, r_100",
          "distillation", neural.distilled("table", "distilled", 1, 1), "→ 1/(n (2 − α) − (1 − α))"),
    Claim(NATURE, "An autoencoder of digits without real data loses variance: clean draws, t = 10 over 0",
          "vae_digits", neural.autoencoder("digits", "pixel", 0.0, 0.0), "→ 0", below=1),
    Claim(HERE, "Without real data a model says too much: slope of the truth on a table's p at t = 10",
          "calibration", neural.slope("table", 0.0)),
    Claim(NATURE, "A language model fine-tuned on its own text: perplexity on real text, t = 9 over 0, five beams, 0 % "
          "real", "language_collapse", neural.language("five beams", 0), "1.6 to 1.8 (words, OPT-125m)", above=1),
    Claim(NATURE, "… sampled, 0 % real", "language_collapse", neural.language("sampling", 0), above=1),
    Claim(NATURE, "… sampled, a tenth of the originals", "language_collapse", neural.language("sampling", 1),
          "a little above 1", above=1),
    Claim(NATURE, "… and repeats itself: distinct 4-grams, t = 9 over 0, five beams, 0 % real",
          "language_collapse", neural.language("five beams", 0, "distinct"), below=1),
    Claim(NATURE, "… a repetition penalty of 2 makes it worse: perplexity at t = 9 with over without, 0 % real",
          "language_collapse", neural.penalised(0), "2 (words, OPT-125m)", above=1,
          note="4 s.e. above 1, but 8 lineages have a wide bound; a sequence soon holds most letters, and all are "
          "penalised alike"),
    Claim(PUBLIC, "One curve in n α for all learners: risk of a transformer over a table's, α = 1, 480 steps of text",
          "neural_phase_transformer", neural.transformer("scratch risk", 0, 3, over_table=True), tested=1,
          note="it memorises: sequences few for its parameters are learned by heart, with real data too"),
    Claim(HERE, "… a full-rank softmax, trained on, α = ¼, 1,920 steps", "neural_phase_transformer",
          neural.transformer("softmax", 1, 2, over_table=True), tested=1),
    Claim(HERE, "A transformer invents: steps that the truth never takes, n = 128, α = 0 (a table: 0)",
          "neural_phase_transformer", neural.transformer("scratch impossible", 1, 0), above=0),
    Claim(HERE, "Routing to experts neither speeds a collapse up nor slows it down: KL lost over the dense "
          "one's, α = 0", "experts", neural.lost("experts", 0.0), tested=1),
    Claim(HERE, "… and without a balance loss the experts' loads part: H(f)/ln E on true sequences, t = 8 over 1, "
          "α = 0", "experts", neural.load("unbalanced", 0.0), below=1,
          note="5 s.e. below 1, which is not beyond the bound that 24 lineages have among so many rows"),
    Claim(HERE, "The width at which copying emerges moves up on own output: w*, α = 0 over clean, t = 4",
          "thresholds", neural.moved("copying", 0.0), above=1),
    Claim(HERE, "… the rank at which a look-up does", "thresholds", neural.moved("look-up", 0.0), above=1),
    Claim(KHANDELWAL, "A datastore of real text lowers what a model trained on its own output gets wrong: r_8, λ = ½ "
          "over λ = 0", "neighbours", neural.datastore(0.5, over=0.0), below=1),
    Claim(HERE, "… as much as the same share of real data does for a table: r_8 over the table's, λ = ½",
          "neighbours", neural.datastore(0.5), tested=1,
          note="at this size neighbours are not of one context alone, and the transformer has an error of its own"),
)  # fmt: skip

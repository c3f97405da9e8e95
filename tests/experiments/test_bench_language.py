"""The language benchmark: what it measures, on made-up arrays, texts and a small attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import spa
from experiments.bench import agreement, language, texts
from spa.bridge import from_torch


def unit(rows):
    return np.asarray(rows) / np.linalg.norm(rows, axis=1, keepdims=True)


def test_padding_is_no_part_of_the_mean():
    hidden = np.array([[[3.0, 4.0], [100.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]]])
    pooled = agreement.mean_pooled(hidden, np.array([[1, 0], [1, 1]]))
    np.testing.assert_allclose(pooled, [[0.6, 0.8], [1.0, 0.0]])


def test_vectors_agree_with_themselves_and_less_with_others():
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((40, 8)))
    same = agreement.embedding_agreement(vectors, vectors)
    assert same == pytest.approx(dict.fromkeys(same, 1.0))
    # A rotation moves every vector and keeps every similarity.
    turned = vectors @ np.linalg.qr(rng.standard_normal((8, 8)))[0]
    rotated = agreement.embedding_agreement(vectors, turned)
    assert rotated["cosine"] < 0.9
    assert rotated["cosine_low"] < rotated["cosine"]
    assert rotated["pearson"] == pytest.approx(1)
    noise = agreement.embedding_agreement(vectors, unit(rng.standard_normal((40, 8))))
    assert abs(noise["spearman"]) < 0.2


def test_a_probe_reads_what_is_there():
    rng = np.random.default_rng(0)
    labels = rng.random(200) < 0.5
    vectors = rng.standard_normal((200, 4)) + 4 * labels[:, None]
    halves = (vectors[:100], labels[:100], vectors[100:], labels[100:])
    assert agreement.probe_accuracy(*halves)["probe_accuracy"] > 0.95


def test_perplexity_and_agreement_by_batches():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((4, 6, 10)).astype(np.float32)
    tokens = rng.integers(0, 10, (4, 6))
    dense = agreement.NextTokens()
    for part in (slice(0, 1), slice(1, 4)):
        dense.add(logits[part], tokens[part])
    scores, targets = torch.from_numpy(logits[:, :-1]), torch.from_numpy(tokens[:, 1:])
    loss = nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten())
    result = dense.result()
    assert result["perplexity"] == pytest.approx(float(loss.exp()), rel=1e-5)
    assert result["accuracy"] == pytest.approx(float((scores.argmax(-1) == targets).float().mean()))
    assert result["agreement"] == 1
    changed = logits.copy()
    changed[0, 0] = -changed[0, 0]  # one choice of twenty
    other = agreement.NextTokens(dense.chosen)
    other.add(changed, tokens)
    assert other.result()["agreement"] == pytest.approx(0.95)


def test_equal_logits_mean_a_perplexity_of_the_vocabulary():
    counted = agreement.NextTokens()
    counted.add(np.zeros((2, 5, 7)), np.ones((2, 5), dtype=np.int64))
    assert counted.result()["perplexity"] == pytest.approx(7)


def test_sentences_of_one_article_make_one_text():
    lines = b'1_1\t0.4\tOne.\r\n1_2\t-0.5\tTwo \xe9.\r\n2_1\t1.5\tA "third.\r\n'
    found = texts.parse(lines)
    assert found[1] == texts.Sentence("1", -0.5, "Two é.")
    assert texts.articles(found) == ["One. Two é.", 'A "third.']


class Block(nn.Module):
    """Tokens, attention with ten heads over five pairs of keys and values, and an MLP."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Embedding(30, 20), nn.LayerNorm(20)
        self.q, self.k, self.v = nn.Linear(20, 20), nn.Linear(20, 10), nn.Linear(20, 10)
        self.o, self.up, self.down = nn.Linear(20, 20), nn.Linear(20, 40), nn.Linear(40, 20)
        self.head = nn.Linear(20, 30)

    def forward(self, ids, mask):
        x = self.embed(ids)
        n, t, _ = x.shape
        q = self.q(x).view(n, t, 10, 2).transpose(1, 2)
        k, v = (f(x).view(n, t, 5, 2).transpose(1, 2).repeat_interleave(2, 1)
                for f in (self.k, self.v))  # fmt: skip
        scores = q @ k.transpose(2, 3) + (mask[:, None, None, :] - 1.0) * 1e4
        x = x + self.o((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, 20))
        return self.head(self.norm(x + self.down(torch.relu(self.up(x)))))


@pytest.mark.parametrize("method", ["l1", "obspa"])
def test_one_part_after_the_other_and_never_the_width(method, monkeypatch):
    monkeypatch.setattr(language, "LONGEST", 7)
    torch.manual_seed(0)
    example = torch.randint(0, 30, (2, 7))
    proto = from_torch(Block(), (example, torch.ones_like(example)))
    for value, name in zip(proto.graph.input, ("ids", "mask"), strict=True):
        for node in proto.graph.node:
            node.input[:] = [name if i == value.name else i for i in node.input]
        value.name = name
    ids = np.random.default_rng(0).integers(0, 30, (16, 7))
    subject = language.Subject(
        lambda: proto,
        {"heads": ("q.bias",), "mlp": ("up.bias",)},
        ("embed.weight",),
        lambda *_: {},
        lambda: {"ids": ids, "mask": np.ones_like(ids)},
    )
    row = language.prune(subject, proto, method, "both", 0)
    assert (row["heads"], row["mlp"]) == ("1/5", "8/40")
    assert row["exact"]
    shapes = {t.name: list(t.dims) for t in row["model"].graph.initializer}
    assert shapes["embed.weight"] == [30, 20]
    assert shapes["q.bias"] == [16]
    assert shapes["up.bias"] == [32]
    assert row["difference"] < 1e-5
    alone = language.prune(subject, proto, method, "mlp", 0)
    assert "heads" not in alone
    assert alone["mlp"] == "8/40"


def test_a_failed_proof_is_noted(monkeypatch):
    def fails(*_):
        raise spa.VerificationError("It differs by 1. It goes wrong first at a node.")

    monkeypatch.setattr(spa, "verify", fails)
    proto = from_torch(nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)), torch.zeros(2, 4))
    model, row = spa.load(proto), {"exact": True, "difference": 0.0}
    language.prove(row, model, spa.prune(model, ratio=0.2, verify=False))
    assert (row["exact"], row["reason"]) == (False, "It differs by 1")
    assert np.isnan(row["difference"])


def test_rows_are_written_read_and_shown(tmp_path):
    rows = [
        {"network": "a", "method": "dense", "part": "", "seed": 0, "params": 12345, "cosine": 1.0},
        {"network": "b", "method": "l1", "part": "both", "seed": 0, "perplexity": 12.34567},
    ]
    path = tmp_path / "results" / "language.csv"
    language.write([language.rounded(row) for row in rows], path)
    back = language.read(path)
    assert [row["params"] for row in back] == ["12345", ""]
    assert back[1]["perplexity"] == "12.3457"
    assert language.markdown(back).split("\n\n")[1].splitlines() == [
        "| network | method | part | seed | perplexity |",
        "|---|---|---|---|---|",
        "| b | l1 | both | 0 | 12.3457 |",
    ]
    assert language.read(tmp_path / "none.csv") == []

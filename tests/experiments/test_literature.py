"""What others published: quoted as printed, with its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.results import literature
from spa.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
GOOD = "resnet56,cifar10,train_prune,Group-L1,l1,2.12,,93.53,28.08,,a readme,DepGraph"
HEAD = "model,dataset,time,method,criterion,rf,rp,dense,accuracy,std,source,title"


def read(folder, *lines, head=HEAD):
    (folder / "paper.csv").write_text("\n".join([head, *lines]) + "\n")
    return literature.read(folder)


def test_values_are_quoted_as_they_were_printed(tmp_path):
    (value,) = read(tmp_path, GOOD.replace("28.08", "28.00"))
    assert value.accuracy == "28.00"
    assert literature.show(value, 3) == "28.00 (dense 93.53) at RF 2.12 [3]"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (GOOD.replace("a readme", ""), "line 2: source is empty"),
        (GOOD.replace("28.08", ""), "accuracy is empty"),
        (GOOD.replace("28.08", "2808"), "accuracy is a number from 0 to 100"),
        (GOOD.replace("28.08", "28 %"), "accuracy is a number"),
        (GOOD.replace("2.12", "0.47"), "rf is a number from 1"),
        (GOOD.replace("train_prune", "later"), 'time is one of .* but is "later"'),
        (GOOD + ",more", "a line has 12 values"),
        (GOOD.removesuffix(",DepGraph"), "a line has 12 values"),
    ],
)
def test_a_line_that_cannot_be_quoted_is_named(tmp_path, line, said):
    with pytest.raises(InputError, match=rf"paper\.csv, .*{said}"):
        read(tmp_path, line)


def test_other_columns_are_refused(tmp_path):
    with pytest.raises(InputError, match="the columns must be model,dataset"):
        read(tmp_path, GOOD, head="model,rf")


def test_no_folder_is_no_literature(tmp_path):
    assert literature.read(tmp_path / "nowhere") == []


def test_what_is_committed_can_be_read_and_quotes_no_row_of_spas_paper():
    found = literature.read(ROOT / "results/literature")
    assert len(found) > 50
    assert {"depgraph", "modhifi"} <= {p.stem for p in (ROOT / "results/literature").glob("*.csv")}
    for value in found:
        assert "2403.18955" not in value.title + value.source
        assert "SPA" not in value.method

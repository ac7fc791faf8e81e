"""Files of the user's own: every layout, and every way in which a row can be wrong."""

import csv
import gzip
import json
import math

import pytest

from align.data.sources.comparisons import split_dialogues
from align.data.sources.example_files import ExampleFiles
from scaling.errors import DataError

TALK = "\n\nHuman: Name a colour.\n\nAssistant: Which kind?\n\nHuman: A warm one.\n\nAssistant:"


def write_rows(path, rows) -> str:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        file.writelines((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    return str(path)


def read(*rows, tmp_path, name="rows.jsonl"):
    source = ExampleFiles((write_rows(tmp_path / name, rows),), held_out=0.0)
    source.check()
    return source, list(source.examples("train"))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_comparisons_in_anthropics_format_are_split_at_the_last_shared_answer(tmp_path, name):
    """The prompt ends with the shared "Assistant:", and prompt plus completion is the published dialogue, character by character."""
    rows = [
        {"chosen": f"{TALK} Red.", "rejected": f"{TALK} Blue."},
        {"chosen": f"{TALK} Rust", "rejected": f"{TALK} Red"},
    ]
    source, examples = read(*rows, tmp_path=tmp_path, name=name)
    assert source.num_completions == 2
    for row, example in zip(rows, examples, strict=True):
        assert example.prompt == TALK
        assert [TALK + completion for completion in example.completions] == [row["chosen"], row["rejected"]]
    assert examples[1].name == f"{name}:2"


def test_dialogues_that_part_early_or_share_no_answer_are_flawed():
    """The last "Assistant:" of one side alone would put a different conversation into the prompt."""
    early = split_dialogues(TALK + " Red.\n\nHuman: Thanks.\n\nAssistant: Welcome.", TALK + " Blue.")
    assert early.prompt == TALK and early.flaw == "whose sides part before the last answer"
    assert split_dialogues("\n\nHuman: a", "\n\nHuman: b").flaw == "whose sides share no turn of the assistant"
    # An answer that begins alike does not move the boundary into it.
    assert split_dialogues(TALK + " Red it is", TALK + " Red it was").chosen == " Red it is"


def test_pairs_dialogues_and_prompts_with_their_numbers(tmp_path):
    _, pairs = read(
        {
            "prompt": "p",
            "chosen": "a",
            "rejected": "b",
            "chosen_score": 0.75,
            "rejected_score": 0.5,
            "margin": 2,
            "name": "mine",
        },
        {"prompt": "p", "chosen": "a", "rejected": "c"},
        tmp_path=tmp_path,
    )
    assert pairs[0].scores == (0.75, 0.5) and pairs[0].margin == 2 and pairs[0].name == "mine"
    assert all(map(math.isnan, (*pairs[1].scores, pairs[1].margin))) and not pairs[1].flaw
    source, dialogue = read({"prompt": "p", "completion": "a", "score": 1}, tmp_path=tmp_path, name="d.jsonl")
    assert source.num_completions == 1 and dialogue[0].completions == ("a",) and dialogue[0].scores == (1,)
    source, prompts = read({"prompt": "p"}, tmp_path=tmp_path, name="p.jsonl")
    assert source.num_completions == 0 and prompts[0].completions == ()


def test_ranked_completions_are_sorted_by_their_scores_or_taken_in_order(tmp_path):
    source, examples = read(
        {"prompt": "p", "completions": ["a", "b", "c"], "scores": [0.25, 2, 0.5]},
        {"prompt": "p", "completions": ["a", "b", "c"]},
        {"prompt": "p", "completions": ["a", "b", "c"], "scores": [1, 1, 1]},
        tmp_path=tmp_path,
    )
    assert source.num_completions == 3
    assert examples[0].completions == ("b", "c", "a") and examples[0].scores == (2, 0.5, 0.25)
    assert examples[1].completions == ("a", "b", "c") and examples[2].flaw == "with equal scores"


def test_csv_files_hold_the_same(tmp_path):
    with open(tmp_path / "rows.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows(
            [["prompt", "completions", "scores"], ["two\nlines", '["a", "b, c"]', "[0, 1]"], ["q", '["d", "e"]', ""]]
        )
    source = ExampleFiles((str(tmp_path / "rows.csv"),), held_out=0.0)
    first, second = source.examples("train")
    assert source.num_completions == 2 and first.prompt == "two\nlines"
    assert first.completions == ("b, c", "a") and first.margin == 1 and second.completions == ("d", "e")


@pytest.mark.parametrize(
    ("row", "flaw"),
    [
        ({"prompt": "p", "chosen": "a", "rejected": "b", "promt": "x"}, "with the unknown field 'promt'"),
        ({"prompt": "p", "chosen": "a"}, "without 'rejected'"),
        ({"prompt": "p", "chosen": None, "rejected": "b"}, "without 'chosen'"),
        ({"prompt": "p", "chosen": 3, "rejected": "b"}, "with a field that is no text"),
        ({"prompt": "p", "chosen": "\ud800", "rejected": "b"}, "with a field that is no text"),
        (
            {"prompt": "p", "chosen": "a", "rejected": "b", "margin": "much"},
            "with a score or a list that cannot be read",
        ),
        ("{not json", "that are no JSON object"),
        ([1, 2], "that are no JSON object"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(tmp_path, row, flaw):
    """The layout is that of the first row that has one, even where the bad row comes first."""
    _, examples = read(row, {"prompt": "p", "chosen": "a", "rejected": "b"}, tmp_path=tmp_path)
    assert [example.flaw for example in examples] == [flaw, ""] and examples[0].name == "rows.jsonl:1"


def test_a_row_of_another_layout_is_a_flaw(tmp_path):
    """The first row's layout is that of the file; a dialogue among pairs is not taken for one."""
    _, examples = read(
        {"prompt": "p", "chosen": "a", "rejected": "b"}, {"prompt": "p", "completion": "a"}, tmp_path=tmp_path
    )
    assert [example.flaw for example in examples] == ["", "with the unknown field 'completion'"]


def test_a_number_of_scores_that_is_not_that_of_completions_is_a_flaw(tmp_path):
    row = {"prompt": "p", "completions": ["a", "b"], "scores": [1]}
    assert read(row, tmp_path=tmp_path)[1][0].flaw == "with another number of scores than of completions"


def test_no_prompt_is_in_two_splits_and_given_splits_stay(tmp_path):
    """Rows with one prompt stay together; a split that comes in its own file takes nothing else."""
    rows = [{"prompt": f"p{number % 300}", "completion": f"c{number}"} for number in range(900)]
    path = write_rows(tmp_path / "all.jsonl", rows)
    source = ExampleFiles((path,), held_out=0.1)
    prompts = {split: {example.prompt for example in source.examples(split)} for split in source.splits}
    assert set(prompts) == {"train", "validation", "test"} and sum(map(len, prompts.values())) == 300
    own = write_rows(tmp_path / "test.jsonl", [{"prompt": "mine", "completion": "c"}])
    divided = ExampleFiles((path,), test_files=(own,), held_out=0.1)
    counts = {split: len(list(divided.examples(split))) for split in divided.splits}
    assert counts["test"] == 1 and sum(counts.values()) == 901


def test_requests_hold_the_content_of_files_not_their_places(tmp_path):
    row = {"prompt": "p", "completion": "c"}
    here, there = (ExampleFiles((write_rows(tmp_path / name, [row]),)) for name in ("a.jsonl", "b.jsonl"))
    assert here.request() == there.request()
    write_rows(tmp_path / "b.jsonl", [row, row])
    assert here.request() != there.request()


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(DataError, match="none.jsonl does not exist"):
        ExampleFiles((str(tmp_path / "none.jsonl"),)).check()
    (tmp_path / "rows.txt").write_text("")
    with pytest.raises(DataError, match="unknown kind of name"):
        ExampleFiles((str(tmp_path / "rows.txt"),)).check()
    path = write_rows(tmp_path / "q.jsonl", [{"question": "q", "answer": "a"}])
    with pytest.raises(
        DataError, match=r"no row of .*q.jsonl has the fields of an example \(the first has \['answer', 'question'\]\)"
    ):
        ExampleFiles((path,)).check()
    (tmp_path / "z.jsonl.gz").write_bytes(b"not compressed")
    with pytest.raises(DataError, match="z.jsonl.gz cannot be read"):
        ExampleFiles((str(tmp_path / "z.jsonl.gz"),)).check()

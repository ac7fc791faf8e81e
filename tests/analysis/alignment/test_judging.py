"""Judges are asked without knowing whose answers they see, in both orders; what was planted in their verdicts comes out; bad verdicts are refused by line."""

import json

import numpy as np
import pytest

from align.gold.token_programs import TokenCount
from analysis.alignment import measurements, study, terminal
from analysis.alignment.judging import answers, comparisons, judged, judgements, reward_judge, shown
from analysis.laws.errors import TableError
from scaling.data.vocabularies import ByteVocabulary
from tests.analysis.alignment import runs
from tests.analysis.conftest import run_verb

PROMPTS = 40
ROWS = [runs.row(0, 0.0, 0.5), runs.row(10, 2.0, 0.9)]


def write_samples(run, seed, better=30):
    """The policy's answers say "good" on the first `better` prompts, those of the reference on the others; gold scores agree. Two samples each."""
    generator = np.random.default_rng(seed)
    is_better = np.arange(PROMPTS) < better

    def side(good):
        words = np.where(good, "good", "bad")
        return {
            "seed": 0,
            "prompts": [f"film {number}" for number in range(PROMPTS)],
            "gold": [[float(value), 0.0] for value in good],
            "length": generator.integers(5, 20, (PROMPTS, 2)).tolist(),
            "texts": [
                {"prompt": f"Film {number} is", "completion": f" {word} {seed}"} for number, word in enumerate(words)
            ],
        }

    (run / "samples.json").write_text(json.dumps({"policy": side(is_better), "reference": side(~is_better)}))


@pytest.fixture
def root(tmp_path):
    for seed in (0, 1):
        directory = runs.write(tmp_path / "runs", "dpo", {"beta": 0.1}, seed, ROWS, run_id=f"run{seed}")
        write_samples(directory, seed)
    return tmp_path / "runs"


@pytest.fixture
def answered(root):
    return answers.read(measurements.read([str(root)]))


def asked(answered, directory, **options):
    """Writes the comparisons of all runs, and returns them."""
    made = comparisons.made(answered, comparisons.chosen(answered, **options))
    directory.mkdir(exist_ok=True)
    comparisons.write(made, directory)
    return made


def answer(directory, judging, name="judge.jsonl", **fields):
    """A file in which a function answers what it is shown."""
    lines = [json.loads(line) for line in (directory / "comparisons.jsonl").read_text().splitlines()]
    verdicts = [{"id": line["id"], "verdict": judging(line), **fields} for line in lines]
    (directory / name).write_text("".join(json.dumps(line) + "\n" for line in verdicts))
    return str(directory / name)


def by_word(line):
    return "first" if "good" in line["first"] else "second"


def found(answered, paths, key, level=0.9):
    return judged.judged(judgements.read(paths, str(key), answered), answered, level)


def test_what_judges_see_names_nobody_and_comes_in_both_orders(answered, tmp_path):
    made = asked(answered, tmp_path / "judged")
    assert len(made) == 2 * 2 * PROMPTS and len({item.id for item in made}) == len(made)
    shown = (tmp_path / "judged" / "comparisons.jsonl").read_text()
    assert not any(word in shown for word in ("run0", "run1", "sft-run", "dpo"))
    assert {tuple(json.loads(line)) for line in shown.splitlines()} == {("id", "prompt", "first", "second")}
    sides = {(item.name, item.first_policy, item.second_policy): (item.first, item.second) for item in made}
    for (name, first, second), texts in sides.items():
        assert sides[name, second, first] == texts[::-1]
    beginnings = [item.first_policy == "sft-run" for item in made]
    assert 0.3 < np.mean(beginnings[: len(made) // 2]) < 0.7, "the order of the lines must not tell who stands first"
    assert [item.id for item in asked(answered, tmp_path / "again")] == [item.id for item in made]


def test_a_consistent_judge_wins_what_was_planted_and_holm_counts_every_pair(answered, tmp_path):
    asked(answered, tmp_path / "judged")
    path = answer(tmp_path / "judged", by_word)
    both = found(answered, [path], tmp_path / "judged" / "key.jsonl")
    assert [item.second for item in both] == ["its reference"] * 2
    for item in both:
        rate = item.verdicts.win_rate
        assert (rate.wins, rate.ties, rate.losses) == (30, 0, 10)
        assert item.verdicts.consistency == 1 and item.verdicts.position_bias == 0 and item.agreement == 1
        assert item.decided_interval(0.9) == pytest.approx((0.6136, 0.8571), abs=2e-3)  # Clopper and Pearson 1934
        assert item.adjusted == pytest.approx(min(1, 2 * item.p_value))
        assert item.controlled.value == pytest.approx(0.75, abs=0.05)


def test_a_judge_of_positions_wins_nothing_and_is_found_out(answered, tmp_path):
    """It always takes the first: every prompt is a tie, and no decision is left to be exact about."""
    asked(answered, tmp_path / "judged")
    for item in found(answered, [answer(tmp_path / "judged", lambda line: "first")], tmp_path / "judged" / "key.jsonl"):
        assert item.verdicts.win_rate.ties == PROMPTS and item.verdicts.consistency == 0
        assert item.verdicts.position_bias == 0.5 and item.decided_interval(0.9) is None and item.agreement is None
        assert item.adjusted_position == pytest.approx(2 * 2.0 ** (1 - PROMPTS))


def test_verdicts_may_name_the_policies_themselves(answered, tmp_path):
    """The same without ids and without a key, and whichever policy a line puts first."""
    made = asked(answered, tmp_path / "judged")
    keyed = found(answered, [answer(tmp_path / "judged", by_word)], tmp_path / "judged" / "key.jsonl")
    lines = [{**item.key, "verdict": by_word(item.shown)} for item in made]
    for line in lines:
        del line["id"]
    path = tmp_path / "named" / "judge.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(line) + "\n" for line in reversed(lines)))
    named = {item.first_id: item.to_json(0.9) for item in found(answered, [str(path)], "")}
    # Bootstrap intervals depend on the order of prompts.
    for one in keyed:
        expected, actual = one.to_json(0.9), named[one.first_id]
        assert expected.pop("length_controlled")["value"] == pytest.approx(actual.pop("length_controlled")["value"])
        assert actual == expected


def test_two_runs_can_be_compared_with_each_other(answered, tmp_path):
    made = asked(answered, tmp_path / "judged", against="run1")
    assert {item.first_policy for item in made} == {"run0", "run1"}
    path = answer(tmp_path / "judged", lambda line: "first" if line["first"].endswith("0") else "second")
    (item,) = found(answered, [path], tmp_path / "judged" / "key.jsonl")
    assert item.first_id == "run0" and item.verdicts.win_rate.wins == PROMPTS


def test_a_reward_that_runs_learnt_from_is_flagged(root, tmp_path):
    record = root / "run0" / "record.json"
    values = json.loads(record.read_text())
    record.write_text(json.dumps(values | {"parents": values["parents"] | {"proxy_0": "vader"}}))
    answered = answers.read(measurements.read([str(root)]))
    asked(answered, tmp_path / "judged")
    path = answer(tmp_path / "judged", by_word, judge_identity="vader")
    items = found(answered, [path], tmp_path / "judged" / "key.jsonl")
    flags = {item.first_id: item.flags for item in items}
    assert "no independent judge" in flags["run0"][0] and not flags["run1"]
    (flag,) = shown.flags(items)
    assert flag.endswith("(1 of 2 pairs)")


def test_a_reward_judges_what_it_reads_and_calls_equals_ties():
    """Counts of a letter, over bytes."""
    letter = int(ByteVocabulary().encode("a")[0])
    judge = reward_judge.RewardJudge(TokenCount(tokens=(letter,)))
    lines = [
        {"id": "1", "prompt": "aaa", "first": "ab", "second": "bb"},
        {"id": "2", "prompt": "aaa", "first": "bb", "second": "ab"},
        {"id": "3", "prompt": "", "first": "a long text without more", "second": "ba"},
        {"id": "4", "prompt": "x", "first": "abc", "second": "cba"},
    ]
    said = reward_judge.verdicts(judge, lines)
    assert [line["verdict"] for line in said] == ["first", "second", "tie", "tie"]
    assert {line["judge_identity"] for line in said} == {judge.reward.identity}


def spoilt(change):
    """A file of verdicts with one thing wrong."""

    def write(answered, directory):
        asked(answered, directory)
        path = answer(directory, by_word)
        lines = [json.loads(line) for line in open(path)]
        lines = change(lines, [json.loads(line) for line in (directory / "key.jsonl").read_text().splitlines()])
        with open(path, "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        return path

    return write


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines, key: lines[:-1], "1 of 40 prompts .* one order only"),
        (lambda lines, key: [*lines, lines[3]], "line 161: the same prompt, policies and order come twice"),
        (lambda lines, key: [{**lines[0], "verdict": "A"}, *lines[1:]], "line 1: the verdict is 'A'"),
        (lambda lines, key: [{**lines[0], "id": "f" * 16}, *lines[1:]], "line 1: the key has no comparison 'ffff"),
        (lambda lines, key: [{"verdict": "tie"}], "line 1: neither id nor prompt, first_policy, second_policy"),
        (
            lambda lines, key: [{**key[0], "first_policy": "gone", "second_policy": "run1", "verdict": "tie", "id": None}],
            "key has no comparison None",
        ),
        (lambda lines, key: [_named(key[0], first_policy="gone", second_policy="run1")], "'gone' is none of the 2 runs"),
        (lambda lines, key: [_named(key[0], prompt="film 99")], "did not answer 'film 99'"),
        (lambda lines, key: [{**line, "judge": str(number)} for number, line in enumerate(lines)], "160 judges"),
        (lambda lines, key: [], "has no line"),
    ],
)  # fmt: skip
def test_bad_verdicts_are_refused_by_line(answered, tmp_path, change, message):
    path = spoilt(change)(answered, tmp_path / "judged")
    with pytest.raises(TableError, match=message):
        found(answered, [path], tmp_path / "judged" / "key.jsonl")


def _named(line, **changes):
    return {name: value for name, value in line.items() if name != "id"} | {"verdict": "tie"} | changes


def test_ids_without_a_key_and_one_judge_twice_are_refused(answered, tmp_path):
    asked(answered, tmp_path / "judged")
    path = answer(tmp_path / "judged", by_word)
    with pytest.raises(TableError, match="no key that tells"):
        found(answered, [path], "")
    again = answer(tmp_path / "judged", by_word, "again.jsonl", judge="judge")
    with pytest.raises(TableError, match="two files are of the judge 'judge'"):
        found(answered, [path, again], tmp_path / "judged" / "key.jsonl")


def test_unknown_runs_and_runs_without_texts_are_refused(answered, root):
    with pytest.raises(TableError, match="no run with samples has the id 'gone'"):
        comparisons.chosen(answered, ["gone"])
    samples = json.loads((root / "run0" / "samples.json").read_text())
    del samples["policy"]["texts"][5:]
    (root / "run0" / "samples.json").write_text(json.dumps(samples))
    with pytest.raises(TableError, match="holds no texts"):
        answers.read(measurements.read([str(root)]))


def test_the_report_and_the_terminal_show_judges(root, answered, tmp_path):
    asked(answered, tmp_path / "judged")
    items = found(answered, [answer(tmp_path / "judged", by_word)], tmp_path / "judged" / "key.jsonl")
    made = study.study(measurements.read([str(root)]), study.Options(draws=0), items)
    text = "\n".join(terminal.describe(made))
    assert "judge: run0 dpo beta=0.1 seed 0" in text and "among all 2 comparisons" in text
    assert [row["win_rate"] for row in made.to_json()["judged"]] == [0.75, 0.75]


@pytest.mark.slow
def test_from_runs_to_a_report_by_the_verbs(root, tmp_path):
    judging = tmp_path / "judging"
    assert run_verb("analysis.comparisons", f"--runs={root}", "--dry_run").returncode == 0 and not judging.exists()
    assert run_verb("analysis.comparisons", f"--runs={root}", "--prompts=20", f"--output_dir={judging}").returncode == 0
    said = run_verb(
        "analysis.judge", "--gin_file=configs/align/judges/lexicon.gin", f"--comparisons={judging / 'comparisons.jsonl'}",
        f"--output={judging / 'lexicon.jsonl'}",
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    flags = [f"--runs={root}", f"--judgements={judging / 'lexicon.jsonl'}", f"--output_dir={tmp_path / 'report'}"]
    done = run_verb("analysis.frontier", *flags, f"--key={judging / 'key.jsonl'}")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "report" / "frontier.json").read_text())["judged"]
    # "good" is a word of the lexicon, and so is "bad".
    assert [(row["judge"], row["wins"], row["losses"]) for row in rows] == [("vader", 20, 0)] * 2
    assert "Win rates by judges" in (tmp_path / "report" / "report.html").read_text()
    refused = run_verb("analysis.frontier", *flags)
    assert refused.returncode == 2 and len(refused.stderr.strip().splitlines()) == 1 and "no key" in refused.stderr

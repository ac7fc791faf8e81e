"""The lineage of a run goes through both stages to pretraining, wherever the directories lie now."""

import json
import shutil
import subprocess
import sys

import pytest

from launch import lineage
from scaling.errors import DataError
from tests.launch import simulated_runs
from tests.launch.conftest import PROJECT_ROOT
from tests.launch.test_index import TRUNKS


@pytest.fixture
def chain(lab) -> str:
    """trunk -> branch -> sft -> reward and dpo; returns the branch's run id."""
    units = lab.frozen_units(TRUNKS)
    trunk, branch = units[0].directories[:2]
    for directory in (trunk, branch):
        simulated_runs.finish(directory)
    branch_id = branch.path.name
    (branch.path / "attempts" / "0000" / "code.patch").write_text("diff")
    for run_id, kind, parents in (
        ("sft0", "sft", {"policy": branch_id}),
        ("reward0", "reward", {"policy": "sft0"}),
        ("dpo0", "preference", {"policy": "sft0", "reference": "sft0", "proxy_0": "reward0"}),
        ("import0", "sft", {"policy": "aaaa-bbbb"}),
    ):
        folder = lab.folder / "align" / run_id
        (folder / "attempts" / "0000").mkdir(parents=True)
        spec = {
            "run_id": run_id,
            "kind": kind,
            "name": f"the {kind}",
            "config": {"training": {"seed": 1}},
            "parents": parents,
        }
        (folder / "stage.json").write_text(json.dumps(spec | {"data": {"examples": f"data-of-{run_id}"}}))
        start = {
            "first_step": 0,
            "host": "node7",
            "git_commit": "c0ffee",
            "machine": {"scheduler": {"SLURM_JOB_ID": "17"}},
        }
        (folder / "attempts" / "0000" / "start.json").write_text(json.dumps(start))
    return branch_id


def roots(lab) -> list[str]:
    return [str(lab.root), str(lab.folder / "align")]


def test_a_policy_is_traced_through_every_stage_to_its_trunk(lab, chain):
    found = lineage.lineage(str(lab.folder / "align" / "dpo0"), roots(lab))
    assert [role for role, _ in found.parents] == ["policy", "proxy_0", "reference"]
    ancestors = dict(found.parents)
    path = [found, ancestors["proxy_0"]]
    while path[-1].parents:
        path.append(path[-1].parents[0][1])
    assert [ancestor.entry.kind for ancestor in path] == ["preference", "reward", "sft", "branch", "trunk"]
    branch = path[3]
    assert branch.identity == chain and branch.start["git_commit"] == simulated_runs.COMMIT
    assert branch.patch.endswith(f"{chain}/attempts/0000/code.patch") and path[4].patch == ""


def test_the_text_names_data_code_machine_and_job_and_describes_each_run_once(lab, chain):
    text = lineage.text(lineage.lineage("dpo0", roots(lab)))
    assert "policy, reference: sft sft0" in text and "trunk: trunk" in text
    assert text.count("data-of-sft0") == 1 and text.count("sft sft0") == 2
    assert "c0ffee" in text and "SLURM_JOB_ID=17" in text and "code.patch" in text


def test_directories_that_moved_are_found_by_identity(lab, chain):
    (lab.folder / "elsewhere" / "deep").mkdir(parents=True)
    shutil.move(lab.root / chain, lab.folder / "elsewhere" / "deep" / "renamed")
    found = lineage.lineage("sft0", [*roots(lab), str(lab.folder / "elsewhere")])
    assert found.parents[0][1].path.endswith("renamed")


def test_what_is_not_under_the_roots_is_said(lab, chain):
    assert "policy: aaaa-bbbb (not under the roots" in lineage.text(lineage.lineage("import0", roots(lab)))


def test_a_circle_is_refused(lab, chain):
    path = lab.folder / "align" / "sft0" / "stage.json"
    spec = json.loads(path.read_text())
    path.write_text(json.dumps(spec | {"parents": {"policy": "dpo0"}}))
    with pytest.raises(DataError, match="its own ancestor"):
        lineage.lineage("dpo0", roots(lab))


def test_the_verb_prints_json_and_refuses_with_code_2(lab, chain):
    def verb(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "launch.lineage", *arguments],
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    found = json.loads(verb("--run=sft0", f"--root={lab.folder / 'align'}", f"--root={lab.root}", "--json").stdout)
    assert found["parents"][0]["identity"] == chain and found["parents"][0]["parents"][0]["role"] == "trunk"
    refused = verb("--run=absent", f"--root={lab.root}")
    assert refused.returncode == 2 and "there is no run absent" in refused.stderr

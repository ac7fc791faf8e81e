"""What a stage leaves of its samples is what judges are asked about: a text a prompt, beside the scores of the same sample."""

import json

from align.losses.preference.config import PreferenceConfig
from align.stages.preference_config import PreferenceStageConfig
from analysis.alignment import measurements
from analysis.alignment.judging import answers
from tests.align.stages import small_stages


def test_the_texts_are_those_of_each_prompts_first_sample(laboratory, tmp_path):
    pairs, training = small_stages.data(laboratory.pairs), small_stages.training(steps=2)
    config = PreferenceStageConfig(laboratory.policy, pairs, PreferenceConfig("ipo"), training, laboratory.meter())
    directory, _ = small_stages.run("preference", config, tmp_path)
    (run,) = answers.read(measurements.read([str(tmp_path)])).values()
    samples = json.loads((directory.path / "samples.json").read_text())
    for side, found in (("policy", run.answers), ("reference", run.reference_answers)):
        assert list(found) == samples[side]["prompts"] and len(found) == 8
        for number, one in enumerate(found.values()):
            # Letters "a" are the gold score, so text and score are of one sample.
            assert one.text.count("a") == one.gold == samples[side]["gold"][number][0]
            assert 3 <= len(one.prompt) <= small_stages.PROMPT

"""The runs of a study, sorted by what became of them."""

import pandas as pd

from analysis.laws.study import Study
from analysis.report.formatting import number, short
from analysis.report.markup import paragraph, table

_HEADER = ("run", "id", "kind", "seed", "N", "D", "FLOPs", "loss")


def runs(study: Study) -> str:
    """Tables of the runs in the fit, held out, excluded, and of the trunks."""
    found = study.table
    parts = [
        f"<details open><summary>{len(found)} runs in the fit</summary>{_listed(found.frame)}</details>",
        f"<p>Held out</p>{_listed(found.held_out)}" if len(found.held_out) else "",
        f"<p>Excluded</p>{_listed(found.excluded, 'reason')}"
        if len(found.excluded)
        else paragraph("No run was excluded."),
    ]
    if len(found.trunks):
        parts.append(
            f"<details><summary>{len(found.trunks)} trunks, which the branches left: their own learning rate has not decayed, so they "
            f"enter no fit</summary>{_listed(found.trunks)}</details>"
        )
    return "".join(parts)


def _listed(frame: pd.DataFrame, last: str | None = None) -> str:
    named = bool((frame["name"] != frame["run_id"]).any())
    rows = [
        [
            *([str(row["name"])] if named else []), str(row["run_id"]), str(row["kind"]),
            "–" if pd.isna(row["seed"]) else f"{row['seed']:.0f}",
            *(short(row[name]) for name in ("params", "tokens")), number(row["flops"], 4), number(row["loss"], 5), *([str(row[last])] if last else []),
        ]
        for row in frame.sort_values(["params", "tokens"]).to_dict("records")
    ]  # fmt: skip
    header = [name for name in (*_HEADER, *([last] if last else [])) if named or name != "run"]
    return table(header, rows, range(header.index("seed"), header.index("loss") + 1))

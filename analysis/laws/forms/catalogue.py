"""Every form there is, by name: the same engine fits them all."""

from analysis.laws.forms import (
    broken,
    chinchilla,
    data_by_size,
    data_constrained,
    frontier,
    kaplan,
    over_optimisation,
    over_training,
    sigmoid,
    skaling,
)
from analysis.laws.forms.form import Form

FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        chinchilla.FORM,
        *(kaplan.power(column, floor) for column in kaplan.LETTERS for floor in (False, True)),
        kaplan.ND,
        kaplan.NS,
        skaling.FORM,
        skaling.GAMMA,
        over_training.FORM,
        data_by_size.FORM,
        broken.broken(),
        data_constrained.FORM,
        frontier.WITH_FLOOR,
        frontier.WITHOUT_FLOOR,
        sigmoid.FORM,
        over_optimisation.BEST_OF_N,
        over_optimisation.RL,
        over_optimisation.DIRECT_ALIGNMENT,
    )
}

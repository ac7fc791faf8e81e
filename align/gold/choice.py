"""Every gold reward that a Gin file can bind."""

from align.gold.lexicon import LexiconRater, LexiconSentiment
from align.gold.rating_judge import RatingJudge
from align.gold.scorer import FrozenScorer
from align.gold.token_programs import (
    ForbiddenTokens,
    LengthWindow,
    NoRepeat,
    Parity,
    TokenCount,
    TokenWeights,
    WeightedSum,
)

GoldConfig = (
    LexiconSentiment
    | LexiconRater
    | RatingJudge
    | FrozenScorer
    | TokenCount
    | ForbiddenTokens
    | Parity
    | NoRepeat
    | LengthWindow
    | TokenWeights
    | WeightedSum
)

"""Every gold reward that a Gin file can bind."""

from align.gold.lexicon import LexiconRater, LexiconSentiment
from align.gold.rating_judge import RatingJudge
from align.gold.scorer import FrozenScorer
from align.gold.token_programs import TokenProgram

GoldConfig = LexiconSentiment | LexiconRater | RatingJudge | FrozenScorer | TokenProgram

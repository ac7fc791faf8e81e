"""Every gold reward that a Gin file can bind."""

from align.gold.lexicon import LexiconRater, LexiconSentiment
from align.gold.token_programs import ForbiddenTokens, LengthWindow, NoRepeat, Parity, TokenCount, WeightedSum

GoldConfig = (
    LexiconSentiment | LexiconRater | TokenCount | ForbiddenTokens | Parity | NoRepeat | LengthWindow | WeightedSum
)
